"""One pass at a time in a DATA_DIR, and the pass's private directory."""

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from loguru import logger

from imageporter.system.errors import AlreadyRunningError, QueueWaitsError
from imageporter.system.signals import Stop

PREFIX = "imageporter-"
PRIVATE = re.compile(rf"{PREFIX}[0-9a-f]{{16}}")
LONGEST_PATH = 4096
# Of one length, so that the one can be written over the other.
QUEUE = "queue"
FULL = "whole"
WRITTEN_SECONDS = 1
LOOK_AGAIN = 0.1


def prepare(data_dir: Path, mistakes: list[str]) -> None:
    """Make `data_dir` where it is missing; what cannot be written in, there or in TMPDIR, is added to `mistakes`."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        os.close(_open(data_dir))
    except PermissionError as error:
        mistakes.append(f"DATA_DIR: {_not_ours(data_dir, error)}")
    except OSError as error:
        what = f"{str(data_dir)!r} cannot be written in: {error.strerror}"
        mistakes.append(f"DATA_DIR: {what}; correct its owner, or name another directory")
    if not can_be_temporary():
        mistakes.append("TMPDIR: there is no directory for temporary files; set it to one, or mount a tmpfs at /tmp")


def _not_ours(data_dir: Path, error: PermissionError) -> str:
    lock = data_dir / "lock"
    with suppress(OSError):
        owner = lock.stat().st_uid
        if owner != os.getuid():
            whose = f"{lock} belongs to user {owner}, and this is user {os.getuid()}"
            return f"{whose}; correct the owner of all that is there, or run as that user"
    return f"{str(data_dir)!r} cannot be written in: {error.strerror}; correct its owner, or name another directory"


def can_be_temporary() -> bool:
    """Whether there is a directory for temporary files."""
    try:
        return bool(tempfile.gettempdir())
    except OSError:
        return False


@contextmanager
def hold(data_dir: Path, stop: Stop, *, queue: bool) -> Iterator[Path]:
    """Hold the lock of `data_dir`; gives a new private (0700) directory, removed at the end.

    The kernel frees the lock when its process dies, however it dies. The lock file names the private
    directory, so that the next pass removes what a killed one left behind, and whether a run over the `queue`
    holds it: a full pass, which may come but once a day, waits for such a run.
    Raises AlreadyRunningError where another process holds the lock, InterruptedPassError at a signal.
    """
    with open(_open(data_dir), "rb+") as file:
        _wait_for(file, data_dir, stop, queue=queue)
        holder = QUEUE if queue else FULL
        os.pwrite(file.fileno(), f"{holder}\n".encode(), 0)  # at once, for those who look who it is
        _remove_left_behind(_read(file)[1])
        private = Path(tempfile.gettempdir()) / (PREFIX + secrets.token_hex(8))
        _write(file.fileno(), f"{holder}\n{private}\n")
        private.mkdir(mode=0o700)
        try:
            yield private
        finally:
            shutil.rmtree(private, ignore_errors=True)


def _wait_for(file: BinaryIO, data_dir: Path, stop: Stop, *, queue: bool) -> None:
    told = False
    deadline = time.monotonic() + WRITTEN_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            # Who has only just got the lock has not yet written who it is: what stands there may be of the one before.
            by_queue = _read(file)[0] == QUEUE
            deadline = time.monotonic() + WRITTEN_SECONDS if by_queue else deadline
            line = f"another pass is running: it holds {data_dir / 'lock'}"
            if queue:
                raise QueueWaitsError([f"{line}; what was hooked waits for the next run"]) from None
            if not by_queue and time.monotonic() > deadline:
                raise AlreadyRunningError([f"{line}; this one does not start"]) from None
        if by_queue and not told:
            logger.info("a run over the queue holds {}; this pass waits for its end", data_dir / "lock")
            told = True
        stop.wait(LOOK_AGAIN)


def _read(file: BinaryIO) -> tuple[str, str]:
    """Who holds the lock, or held it last, and the private directory."""
    holder, _, rest = os.fsdecode(os.pread(file.fileno(), LONGEST_PATH, 0)).partition("\n")
    return holder, rest.partition("\n")[0]


def _open(data_dir: Path) -> int:
    """Open the lock file, making it where it is missing; OSError where it is no file (a FIFO would block for ever)."""
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "lock is not a file")
    return descriptor


def _remove_left_behind(name: str) -> None:
    # Only what this user's own pass made is removed, whatever somebody wrote into the lock file.
    private = Path(name)
    if not PRIVATE.fullmatch(private.name) or private.parent != Path(tempfile.gettempdir()):
        return
    if private.is_dir() and not private.is_symlink() and private.stat().st_uid == os.getuid():
        shutil.rmtree(private, ignore_errors=True)


def _write(lock: int, text: str) -> None:
    """Write `text` over what stands there: a process that dies in between leaves the old name or the new one."""
    content = os.fsencode(text)
    os.pwrite(lock, content, 0)
    os.ftruncate(lock, len(content))
    os.fsync(lock)
