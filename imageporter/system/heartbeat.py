"""The heartbeat file, which healthcheck.sh expects to be younger than three minutes."""

import errno
import os
from pathlib import Path

FAR_FUTURE = 1 << 32  # a second of the year 2106


def touch_heartbeat(path: Path | None, *, for_good: bool = False) -> None:
    """Touch the heartbeat file `path`, if there is one. `for_good`: it stays young, because nobody will touch it again.

    Raises OSError.
    """
    if path is None:
        return
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    path.touch()
    if for_good:
        os.utime(path, (FAR_FUTURE, FAR_FUTURE))
