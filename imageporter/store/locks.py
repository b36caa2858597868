"""The locks of DATA_DIR, so that only one pass runs at a time, and the private directory of a pass.

A full pass holds `lock` for its whole run, and `queue.lock` as well. A queue run only holds `queue.lock`. So a full pass,
which may run only once a day, waits for a queue run, but does not wait for another full pass.
"""

import errno
import fcntl
import os
import re
import secrets
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from loguru import logger

from imageporter.model.shard import Shard
from imageporter.system.errors import AlreadyRunningError, Problems, QueueRunPostponedError, UserError
from imageporter.system.file_locks import acquire
from imageporter.system.signals import Shutdown

LOCK = "lock"
QUEUE_LOCK = "queue.lock"
PREFIX = "imageporter-"
POLL_SECONDS = 0.1
SHARED_SECONDS = 1.0  # others only try these locks for a moment

_PRIVATE = re.compile(rf"{PREFIX}[0-9a-f]{{16}}")
_LONGEST_CONTENT = 4096


def prepare(data_dir: Path, state_dir: Path, problems: Problems, *, quiet: bool = False) -> None:
    """Create `data_dir`, and `state_dir` in it (the same, or that of a shard), if they are missing.

    If one of them or the directory for temporary files is unusable, add a problem. With `quiet`, there is no warning about
    the mode.
    """
    for name in (LOCK, QUEUE_LOCK):
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            state_dir.mkdir(mode=0o700, exist_ok=True)
            os.close(_open(state_dir / name))
        except OSError as error:
            problems.add("DATA_DIR", _cannot_be_written(state_dir, name, error))
            break
    with suppress(OSError):
        found = data_dir.stat()
        is_open = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
        if is_open and found.st_uid == os.getuid() and not quiet:  # another user's cannot be corrected from here
            logger.warning("DATA_DIR: {} is writable for everybody; run `chmod o-w` on it", data_dir)
    if not has_temporary_directory():
        problems.add("TMPDIR", "there is no directory for temporary files; set it to one, or mount a tmpfs at /tmp")


def _cannot_be_written(data_dir: Path, name: str, error: OSError) -> str:
    directory, user = data_dir.absolute(), os.getuid()
    if error.errno == errno.EROFS:
        volume = f"mount a volume there (docker run -v imageporter-data:{directory})"
        return f"{str(data_dir)!r} is on a read-only file system; {volume}, or name another directory"
    if isinstance(error, PermissionError):
        with suppress(OSError):
            if not directory.exists():
                command = f"install -d -o {user} {shlex.quote(str(directory))}"
                return f"user {user} cannot create {str(data_dir)!r}; run `{command}` as root, or name another directory"
        for path in (data_dir / name, data_dir):
            with suppress(OSError):
                if (owner := path.stat().st_uid) != user:
                    command = f"chown -R {user} {shlex.quote(str(directory))}"
                    belongs = f"'{path}' belongs to user {owner}, and this is user {user}"
                    return f"{belongs}; run `{command}` as root (on the host, if it is mounted), or run this as user {owner}"
    remedy = "make room there" if error.errno in {errno.ENOSPC, errno.EDQUOT} else "correct its permissions"
    return f"{str(data_dir)!r} cannot be written in: {error.strerror}; {remedy}, or name another directory"


def has_temporary_directory() -> bool:
    """Return whether there is a directory for temporary files."""
    try:
        return bool(tempfile.gettempdir())
    except OSError:
        return False


@contextmanager
def hold(data_dir: Path, shutdown: Shutdown, *, queue_only: bool, shard: Shard | None = None) -> Iterator[Path]:
    """Hold the locks of a full pass, or of a queue run (`queue_only`), and yield a new private (0700) directory.

    The locks of a `shard` are in its own directory. Besides, it shares a lock with the other shards of the same number of
    shards: without it, two runs could copy to one repository at once.

    The kernel frees a lock when its process dies, even by `kill -9`. The lock file names the private directory, so that
    the next holder removes what a killed one has left. Raises AlreadyRunningError if another pass runs, and
    InterruptedPassError if a signal arrives while a full pass waits for a queue run.
    """
    with ExitStack() as stack:
        busy = QueueRunPostponedError if queue_only else AlreadyRunningError
        if shard is not None:
            _share(data_dir, shard, stack, busy)
            data_dir = data_dir / shard.directory
        paths = [data_dir / QUEUE_LOCK] if queue_only else [data_dir / LOCK, data_dir / QUEUE_LOCK]
        descriptors = []
        for path in paths:
            descriptors.append(_open(path))
            stack.callback(os.close, descriptors[-1])
        if queue_only:
            if not acquire(descriptors[0]):
                line = f"another pass is running: it holds {paths[0]}; the queued images wait for the next queue run"
                raise QueueRunPostponedError([line])
        else:
            if not acquire(descriptors[0]):
                raise AlreadyRunningError([f"another pass is running: it holds {paths[0]}; this one does not start"])
            _wait_for_queue_run(descriptors[1], paths[1], shutdown)

        private = Path(tempfile.gettempdir()) / (PREFIX + secrets.token_hex(8))
        for descriptor in descriptors:
            _remove_left_behind(descriptor)
        try:
            for descriptor in descriptors:
                _write(descriptor, f"{private}\n")
        except OSError as error:
            raise UserError([f"DATA_DIR: {paths[0]} cannot be written: {error.strerror}; make room there"]) from None
        try:
            private.mkdir(mode=0o700)
        except OSError as error:
            line = (
                f"TMPDIR: {private.parent} cannot be written in: {error.strerror}; make room there, or name another directory"
            )
            raise UserError([line]) from None
        try:
            yield private
        finally:
            shutil.rmtree(private, ignore_errors=True)


def _share(data_dir: Path, shard: Shard, stack: ExitStack, busy: type[AlreadyRunningError]) -> None:
    """Hold what all shards of one number of shards hold together.

    Raises `busy` if a run without shards, or one of another number of shards, is running.
    """
    common, own = data_dir / QUEUE_LOCK, data_dir / f"shards-{shard.count}.lock"
    for path in (common, own):
        descriptor = _open(path)
        stack.callback(os.close, descriptor)
        if not acquire(descriptor, fcntl.LOCK_SH, seconds=SHARED_SECONDS):
            raise busy([f"a run without shards is running: it holds {path}; this one does not start"])
    for path in sorted(data_dir.glob("shards-*.lock")):
        if path != own:
            descriptor = _open(path)
            try:
                if not acquire(descriptor):
                    raise busy([f"a shard of another number of shards is running: it holds {path}; this one does not start"])
            finally:
                os.close(descriptor)


def held_since(data_dir: Path) -> float:
    """Return when the current holder of the lock of a full pass began, in seconds since 1970."""
    return (data_dir / LOCK).stat().st_mtime


def _wait_for_queue_run(descriptor: int, path: Path, shutdown: Shutdown) -> None:
    is_logged = False
    while not acquire(descriptor):
        if not is_logged:
            logger.info("a queue run or a shard holds {}; this pass waits until it ends", path)
            is_logged = True
        shutdown.wait(POLL_SECONDS)


def _open(path: Path) -> int:
    """Open a lock file, and create it if it is missing. Raises OSError if it is not a file (a FIFO would block for ever)."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{path.name} is not a file")
    return descriptor


def _remove_left_behind(lock: int) -> None:
    """Remove the private directory that the last line of a lock file names.

    Only a directory that a pass of this user has made is removed, whatever somebody has written into the file.
    """
    content = os.fsdecode(os.pread(lock, _LONGEST_CONTENT, 0))
    private = Path(content.removesuffix("\n").rpartition("\n")[2])
    if not _PRIVATE.fullmatch(private.name) or private.parent != Path(tempfile.gettempdir()):
        return
    if private.is_dir() and not private.is_symlink() and private.stat().st_uid == os.getuid():
        shutil.rmtree(private, ignore_errors=True)


def _write(lock: int, text: str) -> None:
    """Replace the content of a lock file. The old directory is gone and the new one is not made yet, so no step matters."""
    content = os.fsencode(text)
    os.pwrite(lock, content, 0)
    os.ftruncate(lock, len(content))
    os.fsync(lock)
