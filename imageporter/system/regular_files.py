"""Reading files that a user names: a FIFO, a device or a giant file must neither block nor fill the memory."""

import errno
import os
import stat
from pathlib import Path


class TooLargeError(Exception):
    """The file is larger than the limit."""


def read_regular_file(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes. Raises TooLargeError, and OSError like `open`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # without O_NONBLOCK, a FIFO waits for a writer
    with open(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        content = file.read(limit + 1)
    if len(content) > limit:
        raise TooLargeError
    return content
