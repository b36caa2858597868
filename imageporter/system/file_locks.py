"""Waiting for the lock of a file or directory (flock), for a limited time."""

import fcntl
import time

POLL_SECONDS = 0.05


def acquire(descriptor: int, kind: int = fcntl.LOCK_EX, seconds: float = 0) -> bool:
    """Lock what `descriptor` is open for, and return True; return False if others hold it for `seconds` and longer."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        else:
            return True
