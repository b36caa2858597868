"""Owners of queued images: which process has taken one, and whether it still lives.

Queue runs of different shards, or of different numbers of shards while that changes, share one queue. Each holds a lock on a
file of its own, which the kernel frees when it dies, so that nobody waits for an owner who was killed.
"""

import fcntl
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

FOLDER = "owners"
_NAME = re.compile("[0-9a-f]{16}")


class Owner:
    """This process as an owner, in `data_dir`. It has no file before it takes something."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / FOLDER
        self._descriptor: int | None = None
        self.name = secrets.token_hex(8)

    def begin(self) -> None:
        """Hold the lock from now on. Raises OSError."""
        if self._descriptor is None:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._folder / self.name, flags, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def is_alive(self, name: str) -> bool:
        """Return whether the other owner `name` still lives. The file of a dead one is removed."""
        if not _NAME.fullmatch(name):  # somebody has edited the queue
            return False
        path = self._folder / name
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        with suppress(OSError):
            path.unlink()
        return False

    def end(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            with suppress(OSError):
                (self._folder / self.name).unlink()
            os.close(self._descriptor)
            self._descriptor = None
