"""One pass at a time in a DATA_DIR, and the pass's private directory."""

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imageporter.errors import AlreadyRunningError

PREFIX = "imageporter-"
PRIVATE = re.compile(rf"{PREFIX}[0-9a-f]{{16}}")
LONGEST_PATH = 4096


def prepare(data_dir: Path, mistakes: list[str]) -> None:
    """Make `data_dir` where it is missing; what cannot be written in, there or in TMPDIR, is added to `mistakes`."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        os.close(_open(data_dir))
    except OSError as error:
        what = f"{str(data_dir)!r} cannot be written in: {error.strerror}"
        mistakes.append(f"DATA_DIR: {what}; correct its owner, or name another directory")
    if not can_be_temporary():
        mistakes.append("TMPDIR: there is no directory for temporary files; set it to one, or mount a tmpfs at /tmp")


def can_be_temporary() -> bool:
    """Whether there is a directory for temporary files."""
    try:
        return bool(tempfile.gettempdir())
    except OSError:
        return False


@contextmanager
def hold(data_dir: Path) -> Iterator[Path]:
    """Hold the lock of `data_dir`; gives a new private (0700) directory, removed at the end.

    The kernel frees the lock when its process dies, however it dies. The lock file names the private
    directory, so that the next pass removes what a killed one left behind.
    Raises AlreadyRunningError where another process holds the lock.
    """
    with open(_open(data_dir), "rb+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            line = f"another pass is running: it holds {data_dir / 'lock'}; this one does not start"
            raise AlreadyRunningError([line]) from None
        _remove_left_behind(os.fsdecode(file.read(LONGEST_PATH)))
        private = Path(tempfile.gettempdir()) / (PREFIX + secrets.token_hex(8))
        _write(file.fileno(), str(private))
        private.mkdir(mode=0o700)
        try:
            yield private
        finally:
            shutil.rmtree(private, ignore_errors=True)
            _write(file.fileno(), "")


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
    os.ftruncate(lock, 0)
    os.pwrite(lock, text.encode(), 0)
    os.fsync(lock)
