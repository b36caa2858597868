"""The locks of DATA_DIR: one full pass at a time, which waits for a queue run; and what a killed holder leaves."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import BUNDLE

from imageporter.store import locks
from imageporter.system.errors import AlreadyRunningError, Problems, QueueRunPostponedError
from imageporter.system.signals import InterruptedPassError, Shutdown

HOLDER = """
import sys, time
from pathlib import Path
from imageporter.store import locks
from imageporter.system.signals import Shutdown
with Shutdown() as shutdown, locks.hold(Path(sys.argv[1]), shutdown, queue_only=sys.argv[2] == "queue") as private:
    print(private, flush=True)
    time.sleep(float(sys.argv[3]))
"""


@contextmanager
def holder(data_dir: Path, kind: str, seconds: float = 60) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """A process that holds the locks, and its private directory."""
    command = [sys.executable, "-c", HOLDER, str(data_dir), kind, str(seconds)]
    with subprocess.Popen(command, cwd=BUNDLE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_no_directory_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under `docker run --read-only` without a tmpfs. root always has one, so the function is replaced."""

    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    problems = Problems()
    locks.prepare(tmp_path, tmp_path, problems)
    assert list(problems) == ["TMPDIR: there is no directory for temporary files; set it to one, or mount a tmpfs at /tmp"]


@pytest.mark.parametrize("name", ["lock", "queue.lock"])
def test_a_lock_that_is_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    problems = Problems()
    locks.prepare(tmp_path, tmp_path, problems)
    reason = "cannot be written in: Is a directory; correct its permissions, or name another directory"
    assert list(problems) == [f"DATA_DIR: {str(tmp_path)!r} {reason}"]


def test_a_full_pass_waits_for_a_queue_run(tmp_path: Path) -> None:
    with (
        holder(tmp_path, "queue", 0.6) as (queue_run, _),
        Shutdown() as shutdown,
        locks.hold(tmp_path, shutdown, queue_only=False),
    ):
        assert queue_run.wait(10) == 0


def test_a_full_pass_that_waits_excludes_other_full_passes_and_no_queue_run_waits(tmp_path: Path) -> None:
    with holder(tmp_path, "queue", 1), Shutdown() as shutdown:
        waiting = threading.Event()
        ended = threading.Event()

        def full_pass() -> None:
            waiting.set()
            with locks.hold(tmp_path, shutdown, queue_only=False):
                ended.set()

        thread = threading.Thread(target=full_pass)
        thread.start()
        waiting.wait()
        time.sleep(0.3)
        full = rf"^another pass is running: it holds {tmp_path}/lock; this one does not start$"
        with pytest.raises(AlreadyRunningError, match=full), locks.hold(tmp_path, shutdown, queue_only=False):
            pass
        queue = rf"^another pass is running: it holds {tmp_path}/queue.lock; the queued images wait for the next queue run$"
        with pytest.raises(QueueRunPostponedError, match=queue), locks.hold(tmp_path, shutdown, queue_only=True):
            pass
        assert not ended.is_set()
        thread.join(10)
        assert ended.is_set()


def test_a_full_pass_excludes_everything(tmp_path: Path) -> None:
    with Shutdown() as shutdown, locks.hold(tmp_path, shutdown, queue_only=False):
        with pytest.raises(AlreadyRunningError), locks.hold(tmp_path, shutdown, queue_only=False):
            pass
        with pytest.raises(QueueRunPostponedError), locks.hold(tmp_path, shutdown, queue_only=True):
            pass


def test_a_signal_ends_the_wait_for_a_queue_run(tmp_path: Path) -> None:
    with holder(tmp_path, "queue"), Shutdown() as shutdown:
        shutdown.signum = 15
        shutdown._requested.set()  # noqa: SLF001 (what a signal does)
        with pytest.raises(InterruptedPassError), locks.hold(tmp_path, shutdown, queue_only=False):
            pass


@pytest.mark.parametrize(("killed", "next_one"), [("full", "full"), ("queue", "queue"), ("queue", "full"), ("full", "queue")])
def test_the_next_holder_removes_what_a_killed_one_left(tmp_path: Path, killed: str, next_one: str) -> None:
    with holder(tmp_path, killed) as (process, left_behind):
        process.kill()
        process.wait()
    assert left_behind.is_dir()
    with Shutdown() as shutdown, locks.hold(tmp_path, shutdown, queue_only=next_one == "queue") as private:
        assert not left_behind.exists()
        assert private.stat().st_mode & 0o777 == 0o700
    assert not private.exists()


def test_a_lock_file_of_the_previous_version(tmp_path: Path) -> None:
    left_behind = Path(tempfile.gettempdir()) / "imageporter-0123456789abcdef"
    left_behind.mkdir()
    (tmp_path / "lock").write_text(f"whole\n{left_behind}\n")
    with Shutdown() as shutdown, locks.hold(tmp_path, shutdown, queue_only=False) as private:
        assert not left_behind.exists()
        assert (tmp_path / "lock").read_text() == (tmp_path / "queue.lock").read_text() == f"{private}\n"
