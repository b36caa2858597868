"""Look-ups through the real xargs; where no process is to be had, which nobody can order, a fake `start`."""

import queue
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from imageporter.lookups import LookUps

threads: list[threading.Thread] = []


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    """Every xargs has ended, and is closed, when its test has."""
    yield
    while threads:
        threads.pop().join(60)


def start(
    arguments: Sequence[str], lines: "queue.Queue[str | None]", told: Callable[[str], None], ended: Callable[..., None]
) -> None:
    """xargs in two threads, in sh's place."""
    process = subprocess.Popen(["xargs", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def feed() -> None:
        assert process.stdin
        while (line := lines.get()) is not None:
            process.stdin.write(line)
            process.stdin.flush()
        process.stdin.close()

    def listen() -> None:
        assert process.stdout
        for line in process.stdout:
            told(line)
        process.stdout.close()
        process.wait()
        ended()

    for work in (feed, listen):
        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()


def program(folder: Path, script: str) -> str:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_an_answer_has_all_that_the_program_says(tmp_path: Path) -> None:
    ups = LookUps(program(tmp_path, 'echo "$1 $DOCKER_CONFIG"; echo wrong >&2; exit 7'), tmp_path, 2, start)
    answer = ups.run(("digest", "x"), "keys", 60)
    assert (answer.code, answer.stdout, answer.stderr) == (7, f"digest {tmp_path}/keys\n".encode(), b"wrong\n")
    assert not answer.timed_out
    ups.close()
    assert [path.name for path in tmp_path.iterdir()] == ["program"]


def test_nothing_of_an_argument_is_expanded(tmp_path: Path) -> None:
    ups = LookUps(program(tmp_path, 'printf "%s\\n" "$@"'), tmp_path, 1, start)
    words = ("*", "$HOME", "[::1]:5000/a", "`id`", ";", "'", '"')
    assert ups.run(words, "keys", 60).stdout.decode().split("\n")[:-1] == list(words)
    ups.close()


def test_a_limit_below_a_second_holds(tmp_path: Path) -> None:
    ups = LookUps(program(tmp_path, "exec sleep 60"), tmp_path, 1, start)
    answer = ups.run((), "keys", 0.2)
    assert answer.timed_out
    ups.close()


def test_output_that_was_cut_is_no_answer(tmp_path: Path) -> None:
    """As on a full disk, where crane ends with 0."""
    ups = LookUps(program(tmp_path, "printf 1.2"), tmp_path, 1, start)
    with pytest.raises(ChildProcessError, match="is full"):
        ups.run((), "keys", 60)
    ups.close()


def test_a_start_that_fails_is_tried_again(tmp_path: Path) -> None:
    tries: list[int] = []

    def flaky(
        arguments: Sequence[str], lines: "queue.Queue[str | None]", told: Callable[[str], None], ended: Callable[..., None]
    ) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        start(arguments, lines, told, ended)

    ups = LookUps(program(tmp_path, "echo fine"), tmp_path, 1, flaky)
    with pytest.raises(ChildProcessError, match=r"it could not be run: .*Resource temporarily unavailable"):
        ups.run((), "keys", 60)
    assert ups.run((), "keys", 60).stdout == b"fine\n"
    ups.close()


def test_a_program_that_cannot_be_started_is_an_answer(tmp_path: Path) -> None:
    ups = LookUps(str(tmp_path / "nothing"), tmp_path, 1, start)
    assert ups.run((), "keys", 60).code == 127
    ups.close()
