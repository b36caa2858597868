"""The push queue: an image stays until its target is verified, or until it has failed for a day."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageporter.model import reference
from imageporter.model.image import Image
from imageporter.model.outcome import Outcome, Status
from imageporter.store import push_queue, queue_rows
from imageporter.store.push_queue import PushQueue, QueueFullError
from imageporter.store.queue_rows import FILE
from imageporter.system import logs
from imageporter.system.errors import UserError

DIGEST = "sha256:" + "0" * 64


@pytest.fixture(autouse=True)
def _log_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:  # noqa: ARG001 (whose stdout it is)
    logs.configure()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[PushQueue]:
    with push_queue.open_queue(tmp_path, required=True) as opened:
        yield opened


def image(name: str, target: str = "b.example") -> Image:
    return Image("a location", reference.parse(f"a.example/{name}"), reference.parse(f"{target}/{name}"))


def waiting(queue: PushQueue) -> list[tuple[str, int, str | None]]:
    return [(row["source"], row["attempts"], row["error"]) for row in queue.status()["waiting"]]


def older(folder: Path, seconds: float) -> None:
    connection = sqlite3.connect(folder / FILE)
    with connection:
        connection.execute("UPDATE waiting SET since = since - ?1, failing = failing - ?1", (seconds,))
    connection.close()


def test_an_image_waits_once_and_until_it_is_verified(queue: PushQueue) -> None:
    one, two = image("one:1"), image("two:1")
    put = queue.put([one, one], 10)
    assert (put.queued, put.already) == ((one,), ())
    put = queue.put([one, two], 10)
    assert (put.queued, put.already) == ((two,), (one,))
    assert {rule.text for rule in queue.take()} == {
        "'a.example/one:1' -> 'b.example/one:1'",
        "'a.example/two:1' -> 'b.example/two:1'",
    }
    queue.settle(Outcome(one, Status.COPIED, DIGEST))
    assert waiting(queue) == [("a.example/two:1", 0, None)]
    queue.settle(Outcome(two, Status.SKIPPED, DIGEST))
    assert waiting(queue) == []


def test_an_image_that_is_pushed_again_has_waited_since_the_first_push(queue: PushQueue, tmp_path: Path) -> None:
    """Otherwise a queue that nobody syncs would look young."""
    queue.put([image("one:1")], 10)
    older(tmp_path, 100)
    before = queue.status()["oldest"]
    queue.put([image("one:1"), image("two:1")], 10)
    assert queue.status()["oldest"] == before


def test_what_was_not_verified_stays(queue: PushQueue) -> None:
    one = image("one:1")
    queue.put([one], 10)
    queue.take()
    queue.settle(Outcome(one, Status.INTERRUPTED))
    queue.settle(Outcome(one, Status.WOULD_COPY, DIGEST))
    assert waiting(queue) == [("a.example/one:1", 0, None)]
    queue.settle(Outcome(one, Status.FAILED, error="source not found"))
    queue.settle(Outcome(one, Status.FAILED, error="source unreachable"))
    assert waiting(queue) == [("a.example/one:1", 2, "source unreachable")]
    queue.settle(Outcome(image("other:1"), Status.COPIED, DIGEST))  # which did not wait
    assert len(waiting(queue)) == 1


def test_a_push_in_the_middle_of_a_run_waits_for_the_next(queue: PushQueue) -> None:
    """The run may have asked for the digest before the push: what it copied is not what was pushed."""
    one = image("one:1")
    queue.put([one], 10)
    queue.take()
    assert queue.put([one], 10).already == (one,)
    queue.settle(Outcome(one, Status.COPIED, DIGEST))
    assert waiting(queue) == [("a.example/one:1", 0, None)]
    queue.take()
    queue.settle(Outcome(one, Status.COPIED, DIGEST))
    assert waiting(queue) == []


def test_a_full_queue_takes_all_or_nothing(queue: PushQueue) -> None:
    queue.put([image("one:1"), image("two:1")], 3)
    with pytest.raises(QueueFullError, match=r"^the queue is full: it holds 3 images at most$"):
        queue.put([image("three:1"), image("four:1")], 3)
    assert queue.status()["images"] == 2
    assert queue.put([image("one:1")], 2).already  # no room is needed
    queue.put([image("three:1")], 3)


def test_of_two_sources_of_one_target_the_last_push_counts(queue: PushQueue) -> None:
    older, newer = image("one:1"), Image("a location", reference.parse("c.example/one:1"), reference.parse("b.example/one:1"))
    queue.put([older], 10)
    assert queue.put([newer], 1).queued == (newer,)  # in the place of the other: no room is needed
    assert [rule.text for rule in queue.take()] == ["'c.example/one:1' -> 'b.example/one:1'"]
    queue.settle(Outcome(older, Status.COPIED, DIGEST))
    assert len(waiting(queue)) == 1
    queue.settle(Outcome(newer, Status.COPIED, DIGEST))
    assert waiting(queue) == []


def test_a_file_that_is_taken_away_or_spoilt_under_a_running_hook(queue: PushQueue, tmp_path: Path) -> None:
    queue.put([image("one:1")], 10)
    for name in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
        (tmp_path / name).unlink()
    queue.put([image("two:1")], 10)
    with push_queue.open_queue(tmp_path, required=True) as another:
        assert [rule.text for rule in another.take()] == ["'a.example/two:1' -> 'b.example/two:1'"]
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    (tmp_path / FILE).write_bytes(b"not a database " * 1000)
    queue.put([image("three:1")], 10)
    with push_queue.open_queue(tmp_path, required=True) as another:
        assert [rule.text for rule in another.take()] == ["'a.example/three:1' -> 'b.example/three:1'"]


def test_a_row_that_somebody_wrote_does_not_hold_up_the_others(queue: PushQueue, tmp_path: Path) -> None:
    queue.put([image("one:1")], 10)
    connection = sqlite3.connect(tmp_path / FILE)
    with connection:
        connection.execute("INSERT INTO waiting (target, source, push, since) VALUES ('B.example/UP', 'x', 1, 1)")
    connection.close()
    assert [rule.text for rule in queue.take()] == ["'a.example/one:1' -> 'b.example/one:1'"]


def test_a_clock_that_jumps_gives_nothing_up(queue: PushQueue, tmp_path: Path) -> None:
    """What waited over a weekend, or since 1970, has not failed for a day."""
    one = image("one:1")
    queue.put([one], 10)
    older(tmp_path, 3 * queue_rows.DAY)
    queue.take()
    queue.settle(Outcome(one, Status.FAILED, error="source unreachable"))
    older(tmp_path, 3 * queue_rows.DAY)
    queue.settle(Outcome(one, Status.FAILED, error="source unreachable"))
    assert waiting(queue) == [("a.example/one:1", 2, "source unreachable")]


def test_given_up_after_a_day(queue: PushQueue, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = image("one:1")
    queue.put([one], 10)
    queue.take()
    queue.settle(Outcome(one, Status.FAILED, error="source not found"))
    older(tmp_path, queue_rows.DAY - 60)
    queue.settle(Outcome(one, Status.FAILED, error="source not found"))
    assert len(waiting(queue)) == 1
    older(tmp_path, 120)
    queue.settle(Outcome(one, Status.FAILED, error="source not found"))
    assert waiting(queue) == []
    message = "given up after a day and 3 runs: a.example/one:1 -> b.example/one:1: source not found; "
    assert message in "".join(capsys.readouterr())

    queue.put([one], 10)  # a new push is a new day
    assert 0 <= time.time() - queue.status()["oldest"] < 60


def test_several_at_once(tmp_path: Path) -> None:
    """Receivers in several processes, each with a connection of its own: nothing is lost, nothing waits twice."""

    def receive(number: int) -> None:
        with push_queue.open_queue(tmp_path, required=True) as queue:
            for each in range(50):
                queue.put([image(f"app{(number * 25 + each) % 100}:1")], 1000)

    workers = [threading.Thread(target=receive, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with push_queue.open_queue(tmp_path, required=True) as queue:
        assert queue.status()["images"] == 100


def test_without_a_hook_there_is_no_file(tmp_path: Path) -> None:
    assert push_queue.is_empty(tmp_path, None)
    with push_queue.open_queue(tmp_path, required=False) as queue:
        assert queue.take() == ()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / FILE).mkdir()
    words = f"{tmp_path / FILE} cannot be used: unable to open database file; correct its owner, or remove it"
    with pytest.raises(UserError) as caught, push_queue.open_queue(tmp_path, required=True):
        pass
    assert caught.value.lines == (f"DATA_DIR: {words}",)
    with push_queue.open_queue(tmp_path, required=False) as queue:
        assert queue.take() == ()
    assert f"{words}; the queued images stay queued" in "".join(capsys.readouterr())


def test_a_file_that_is_damaged_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("not a database " * 100)
    with push_queue.open_queue(tmp_path, required=True) as queue:
        queue.put([image("one:1")], 10)
    assert len(list(tmp_path.glob("queue.db.*.aside"))) == 1
