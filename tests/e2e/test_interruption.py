"""Passes that are interrupted, killed, or started twice."""

import json
import os
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support import BUNDLE, Proxy, Registry, Running, Stall, User, alive, descendants, log_of, start, wait_for


@pytest.fixture
def stall() -> Stall:
    """Holds every upload."""
    return Stall()


@pytest.fixture
def stalled(user: User, source: Registry, target: Registry, stall: Stall) -> str:
    """The digest of an image whose copy will stall; two more wait behind it."""
    proxy = Proxy(target, stall)
    digests = [source.push(f"app:{number}", str(number)) for number in (1, 2, 3)]
    user.images(*((f"{source}/app:{number}", f"{proxy}/app:{number}") for number in (1, 2, 3)))
    return digests[0]


def private_folders(user: User) -> list[Path]:
    """What a pass keeps its keychain in."""
    return list(user.tmp.glob("imageporter-*"))


def cranes(running: Running) -> list[list[str]]:
    """The crane processes below a script."""
    return [argv for argv in descendants(running.process.pid).values() if argv and argv[0].endswith("/crane")]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_copy_and_is_reported(
    user: User, stall: Stall, stalled: str, target: Registry, number: signal.Signals, code: int
) -> None:
    with user.running("sync.py", JOBS="1", PROBES="1", LOG_FORMAT="json", SLEEP_TIME="60") as running:
        wait_for(stall.holding.is_set, "the copy began")
        below = descendants(running.process.pid)
        assert cranes(running)
        began = time.monotonic()
        run = running.end(number, seconds=10)
        assert time.monotonic() - began < 10
    assert run.code == code
    assert not alive(below)
    assert private_folders(user) == []
    # the image that began is logged, those that never began are only counted
    assert [row["error"] for row in run.events("image.done")] == ["interrupted"]
    done = run.events("pass.done")[0]
    assert (done["failed"], done["interrupted"]) == (3, 3)
    assert run.rows[-1]["message"] == "interrupted: 3 of 3 images not finished; the next pass continues with them"
    report = json.loads((user.folder / "data" / "report.json").read_text())
    assert (report["exit_code"], report["failed"]) == (code, 3)

    stall.release.set()
    assert user.sync().code == 0
    assert target.digest("app:1") == stalled


def test_several_signals_at_once_are_not_lost(user: User, stall: Stall, stalled: str) -> None:
    assert stalled
    for _ in range(5):
        stall.holding.clear()
        with user.running("sync.py") as running:
            wait_for(stall.holding.is_set, "the copy began")
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
                running.process.send_signal(number)
            assert running.process.wait(timeout=10) in {130, 143}  # which of them is the first is the kernel's to say


def test_a_crane_that_does_not_listen_is_killed(user: User, source: Registry, target: Registry) -> None:
    """A fake: no real crane ignores a SIGTERM."""
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    began = user.home / "began"
    wrapper = user.crane_wrapper(f"""
        if [ "$1" != copy ]; then exec "$CRANE" "$@"; fi
        trap '' TERM
        touch {began}
        sleep 300
    """)
    with user.running("sync.py", CRANE=wrapper) as running:
        wait_for(began.exists, "the copy began")
        below = descendants(running.process.pid)
        assert running.end(signal.SIGTERM, seconds=10).code == 143
    wait_for(lambda: not alive(below), "its children are gone")

    run = user.sync(CRANE=wrapper, COPY_TIMEOUT="1")
    assert run.events("image.done")[0]["error"] == "copy timed out: no end after 1 seconds (COPY_TIMEOUT)"


def test_a_signal_during_login_is_reported(user: User, source: Registry, target: Registry) -> None:
    """A fake: no real crane takes long to log in."""
    user.images((f"{source}/app:1", f"{target}/app:1"))
    user.write("accounts.json", [{"registry": str(source), "username": "me", "password": "secret"}])
    began = user.home / "began"
    wrapper = user.crane_wrapper(f'if [ "$1" = auth ]; then touch {began}; sleep 300; fi; exec "$CRANE" "$@"')
    with user.running("sync.py", CRANE=wrapper) as running:
        wait_for(began.exists, "the login began")
        run = running.end(signal.SIGTERM, seconds=10)
    assert run.code == 143
    assert run.lines[-1] == "WARNING interrupted: 1 of 1 image not finished; the next pass continues with them"
    assert json.loads((user.folder / "data" / "report.json").read_text())["exit_code"] == 143


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it has ended
        return True
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) & 1 << number - 1)


@pytest.mark.parametrize("script", ["sync.py", "entrypoint.py"])
def test_a_signal_at_any_moment_of_the_start(user: User, script: str) -> None:
    """As PID 1, where a signal without a handler is lost: nothing hangs, and no traceback is shown."""
    user.write("images.json", [])
    user.write("accounts.json", [])
    log = user.folder / "log"
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, str(BUNDLE / script)]
    for tenths in (0, 0.5, 1, 1.5, 2, 2.5, 3, 4, 5, 7):
        with start(command, log, env=user.environ({}), cwd=user.folder) as process:
            wait_for(lambda: descendants(process.pid), "Python starts")
            pid = next(iter(descendants(process.pid)))
            wait_for(lambda: catches(pid, signal.SIGTERM), "a handler")  # noqa: B023
            time.sleep(tenths / 10)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            assert process.wait(timeout=10) in {0, 143}, log_of(log)
        assert "Traceback" not in log_of(log)
    assert list(user.tmp.iterdir()) == []


def test_a_signal_cuts_every_wait_short(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"), (f"{source}/app:1", f"{target}/other:1"))
    with user.running("sync.py", SLEEP_TIME="3600", JOBS="1") as running:
        wait_for(lambda: "copied " in running.output, "the first image was copied")
        run = running.end(signal.SIGTERM, seconds=10)
    assert run.code == 143
    assert run.lines[-2].startswith("WARNING pass interrupted: 1 copied, 0 skipped, 1 failed in ")
    assert run.lines[-1] == "WARNING interrupted: 1 of 2 images not finished; the next pass continues with them"


def test_a_killed_pass_leaves_nothing_running_and_the_next_converges(
    user: User, stall: Stall, stalled: str, target: Registry
) -> None:
    with user.running("sync.py") as running:
        wait_for(stall.holding.is_set, "the copy began")
        below = descendants(running.process.pid)
        assert any("copy" in argv for argv in below.values())
        running.process.kill()
        wait_for(lambda: not alive(below), "crane died with its pass")
    left_behind = private_folders(user)
    assert len(left_behind) == 1

    stall.release.set()
    run = user.sync()
    assert (run.code, set(run.outcomes.values())) == (0, {"copied"})
    assert target.digest("app:1") == stalled
    assert private_folders(user) == []


def test_a_second_pass_does_not_start(user: User, stall: Stall, stalled: str, target: Registry) -> None:
    with user.running("sync.py") as running:
        wait_for(stall.holding.is_set, "the copy began")
        second = user.run("sync.py")
        assert second.code == 75
        assert second.lines[-1] == "ERROR another pass is running: it holds data/lock; this one does not start"
        # with a DATA_DIR of its own it is another user's
        assert user.run("sync.py", "--dry-run", DATA_DIR="elsewhere").code == 0
        stall.release.set()
        assert running.process.wait(timeout=60) == 0
    assert target.digest("app:1") == stalled


def test_a_lock_file_that_names_somebody_elses_folder_removes_nothing(user: User) -> None:
    user.write("images.json", [])
    (user.folder / "data").mkdir()
    precious = user.home / "imageporter"
    precious.mkdir()
    link = user.tmp / "imageporter-link"
    link.symlink_to(precious)
    named_alike = user.home / "imageporter-0123456789abcdef"
    named_alike.mkdir()
    for name in (str(precious), str(link), str(named_alike), "..", "/", "\udcff\0", "x" * 10_000):
        (user.folder / "data" / "lock").write_bytes(b"whole\n" + name.encode(errors="surrogateescape"))
        assert user.sync().code == 0
        assert precious.is_dir()
        assert named_alike.is_dir()
        assert user.folder.is_dir()
        written = (user.folder / "data" / "lock").read_text()
        assert re.fullmatch(rf"{user.tmp}/imageporter-[0-9a-f]{{16}}\n", written)


def test_data_dirs_that_cannot_be_used(user: User) -> None:
    user.write("images.json", [])
    user.write("file", "")
    words = "cannot be written in: {}; correct its permissions, or name another directory"
    run = user.run("sync.py", DATA_DIR="file")
    assert (run.code, run.lines[-1]) == (2, "ERROR DATA_DIR: 'file' " + words.format("File exists"))
    os.mkfifo(user.folder / "lock")
    run = user.run("sync.py", DATA_DIR=".")
    assert (run.code, run.lines[-1]) == (2, "ERROR DATA_DIR: '.' " + words.format("lock is not a file"))
    run = user.run("sync.py", DATA_DIR="~nobody-of-that-name/data")
    words = "DATA_DIR: '~nobody-of-that-name/data' begins with the home of a user who does not exist"
    assert (run.code, run.lines[-1]) == (2, f"ERROR {words}")


def test_a_report_that_cannot_be_written_is_logged(user: User) -> None:
    user.write("images.json", [])
    (user.folder / "data" / "report.json").mkdir(parents=True)
    run = user.run("sync.py")
    assert run.code == 0
    assert "ERROR data/report.json cannot be written: Is a directory" in run.lines
    assert sorted(path.name for path in (user.folder / "data").iterdir()) == [
        "lock",
        "queue.lock",
        "records.db",
        "report.json",
    ]
