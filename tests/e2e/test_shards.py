"""Shards: processes that share the images and the queue, and one report of all."""

import json
import signal
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from receivers import Receiver
from support import BUNDLE, Hook, Proxy, Registry, Stall, User, wait_for

NAMES = tuple(f"app-{number}" for number in range(12))


@pytest.fixture
def mirror(user: User, source: Registry, target: Registry) -> User:
    """A user with an image in each of twelve repositories."""
    for name in NAMES:
        source.push(f"{name}:1", name)
    user.images(*((f"{source}/{name}:1", f"{target}/{name}:1") for name in NAMES))
    return user


def run_at_once(user: User, count: int, **env: str) -> list[dict[str, str]]:
    """Run all shards at the same time; gives the outcomes of each."""
    processes = [
        subprocess.Popen(
            [sys.executable, str(BUNDLE / "sync.py")],
            cwd=user.folder,
            env=user.environ({"SLEEP_TIME": "0", "LOG_FORMAT": "json", "SHARD": f"{number}/{count}"} | env),
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(1, count + 1)
    ]
    found = []
    for process in processes:
        output, _ = process.communicate(timeout=120)
        rows = [json.loads(line) for line in output.splitlines()]
        found.append({row["target"]: row["outcome"] for row in rows if row.get("event") == "image.done"})
    return found


def report(user: User, folder: str = "data") -> Any:
    return json.loads((user.folder / folder / "report.json").read_text())


def merged(user: User, *folders: str, **env: str) -> tuple[int, list[str]]:
    """Merge the reports; gives the exit code and the log."""
    run = user.run("sync.py", "--merge-reports", *folders, **env)
    return run.code, run.lines


def test_three_shards_are_one_pass(mirror: User, source: Registry, target: Registry) -> None:
    outcomes = run_at_once(mirror, 3)
    assert Counter(name for shard in outcomes for name in shard) == Counter(f"{target}/{name}:1" for name in NAMES)
    assert all(outcomes)
    assert [target.digest(f"{name}:1") for name in NAMES] == [source.digest(f"{name}:1") for name in NAMES]
    data = mirror.folder / "data"
    assert sorted(path.name for path in data.iterdir()) == [f"shard-{number}-of-3" for number in (1, 2, 3)]
    assert report(mirror, "data/shard-2-of-3")["shard"] == "2/3"
    assert sorted(path.name for path in (data / "shard-2-of-3").iterdir()) == [
        "lock",
        "queue.lock",
        "records.db",
        "report.json",
    ]
    again = run_at_once(mirror, 3)
    assert {outcome for shard in again for outcome in shard.values()} == {"skipped"}

    with Receiver.serve() as receiver:
        env = {
            "NOTIFY_URLS": f"json://{receiver.address}/",
            "NOTIFY_ON": "always",
            "PING_URL": f"http://{receiver.address}/check",
        }
        run_at_once(mirror, 3, **env)
        assert receiver.take() == [], "one speaks for all"
        assert merged(mirror, "data", **env) == (
            0,
            ["INFO all shards done: 0 copied, 12 skipped, 0 failed", "INFO notified by JSON"],
        )
        message, ping = receiver.take()
    assert message.json["title"].endswith(": all 12 images are up to date")
    assert ping.path == "/check/0"
    whole = report(mirror)
    assert (whole["skipped"], len(whole["images"]), whole["exit_code"]) == (12, 12, 0)
    assert whole["last_success"] == whole["finished"]


def test_the_merged_report_says_what_failed_and_what_is_missing(mirror: User, source: Registry, target: Registry) -> None:
    mirror.images(*((f"{source}/{name}:1", f"{target}/{name}:1") for name in (*NAMES, "gone-1", "gone-2")))
    run_at_once(mirror, 2)
    code, lines = merged(mirror, "data")
    assert (code, lines) == (1, ["WARNING all shards done: 12 copied, 0 skipped, 2 failed"])
    assert report(mirror)["failing_since"] == report(mirror)["started"]
    (mirror.folder / "data" / "shard-1-of-2" / "report.json").unlink()
    code, lines = merged(mirror, "data")
    problem = "data/shard-1-of-2/report.json: shard 1/2 has no report"
    assert (code, lines[-1]) == (1, f"ERROR {problem}")
    assert report(mirror)["problems"] == [problem]
    # shards on machines of their own, each with a DATA_DIR
    for number in (1, 2):
        assert mirror.sync(SHARD=f"{number}/2", DATA_DIR=f"machine-{number}").code in {0, 1}
    code, lines = merged(mirror, "machine-1/shard-1-of-2", "machine-2/shard-2-of-2")
    assert (code, len(report(mirror)["images"])) == (1, 14)
    assert merged(mirror, "nowhere") == (
        2,
        [
            "ERROR nowhere/report.json: there is no report that can be read",
            "ERROR --merge-reports: there is no report to merge",
        ],
    )


def test_after_another_number_of_shards_only_the_new_ones_count(mirror: User) -> None:
    run_at_once(mirror, 3)
    again = run_at_once(mirror, 2)
    assert {outcome for shard in again for outcome in shard.values()} == {"skipped"}, "it costs look-ups, and no copies"
    assert merged(mirror, "data")[0] == 0
    assert len(report(mirror)["images"]) == 12


def test_the_status_page_shows_all_shards(mirror: User, target: Registry) -> None:
    run_at_once(mirror, 3)
    merged(mirror, "data")
    with Hook.of(mirror) as hook:
        page = hook.text("/")[1]
        assert "all 12 images are up to date" in page
        positions = [page.index(f"{name}<") for name in sorted(f"{target}/{name}:1" for name in NAMES)]
        assert positions == sorted(positions)


def test_what_is_set_wrongly(user: User) -> None:
    user.write("images.json", {"a.io/xx": "r.io/m/{tag}/{name}"})
    run = user.run("sync.py", SHARD="3/2")
    assert (run.code, run.lines[-1]) == (
        2,
        "ERROR SHARD: '3/2' is not a shard; write its number and how many there are, like 2/8",
    )
    run = user.run("sync.py", SHARDS="2", JOB_COMPLETION_INDEX="1")
    assert run.code == 2
    assert run.lines[-1].endswith("which a shard must know before it lists the tags; name the repository")


def push_all(user: User, source: Registry) -> None:
    """Queue all images."""
    with Hook.of(user) as hook:
        for name in NAMES:
            assert hook.hook(f"{source}/{name}:1")[0] == 202


def left(user: User) -> int:
    """How many images are queued."""
    with Hook.of(user) as hook:
        return int(hook.call("/status")[1]["queue"]["images"])


def test_each_push_is_taken_by_one_shard(mirror: User, source: Registry, target: Registry) -> None:
    push_all(mirror, source)
    outcomes = [mirror.sync("--queue", SHARD=f"{number}/2").outcomes for number in (1, 2)]
    assert Counter(name for shard in outcomes for name in shard) == Counter(f"{target}/{name}:1" for name in NAMES)
    assert all(outcomes)
    assert left(mirror) == 0


def test_no_push_is_taken_twice_while_the_number_of_shards_changes(mirror: User, source: Registry, target: Registry) -> None:
    """The old shard 1/2 still runs when the new ones begin. It keeps what it has taken, until it is killed."""
    stall = Stall()
    proxy = Proxy(target, stall)
    mirror.images(*((f"{source}/{name}:1", f"{proxy}/{name}:1") for name in NAMES))
    push_all(mirror, source)
    with mirror.running("sync.py", "--queue", SHARD="1/2", JOBS="1") as old:
        wait_for(stall.holding.is_set, "its first copy")
        stall.part = b"no other request"
        others = [mirror.sync("--queue", SHARD=f"{number}/3").outcomes for number in (1, 2, 3)]
        taken = Counter(name for shard in others for name in shard)
        kept = {f"{proxy}/{name}:1" for name in NAMES} - taken.keys()
        assert set(taken.values()) == {1}
        assert kept
        assert left(mirror) == len(kept)
        old.end(signal.SIGKILL)
    stall.release.set()
    rest = [mirror.sync("--queue", SHARD=f"{number}/3").outcomes for number in (1, 2, 3)]
    assert {name for shard in rest for name in shard} == kept
    assert left(mirror) == 0
    assert list((mirror.folder / "data" / "owners").iterdir()) == []


def test_a_dry_run_takes_nothing(mirror: User, source: Registry) -> None:
    push_all(mirror, source)
    assert mirror.sync("--queue", DRY_RUN="true", SHARD="1/2").code == 0
    assert left(mirror) == len(NAMES)
    assert not (mirror.folder / "data" / "owners").exists()
