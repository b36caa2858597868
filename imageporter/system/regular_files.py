"""Reading files that a user names: a FIFO, a device or a giant file must neither block nor fill the memory."""

import errno
import os
import select
import stat
import time
from pathlib import Path

FIFO_SECONDS = 5.0


class TooLargeError(Exception):
    """The file is larger than the limit."""


def read_regular_file(path: Path, limit: int) -> bytes:
    """Return the content of a regular file of at most `limit` bytes. Raises TooLargeError, and OSError like `open`.

    A FIFO (`<(command)` in a shell) is read as well, if somebody writes to it within FIFO_SECONDS.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # without O_NONBLOCK, a FIFO waits for a writer
    with open(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if stat.S_ISFIFO(mode):
            return _read_fifo(descriptor, limit)
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        content = file.read(limit + 1)
    if len(content) > limit:
        raise TooLargeError
    return content


def read_start(path: Path, length: int) -> bytes:
    """Return at most the first `length` bytes of a regular file. Raises OSError, also if it is no regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return file.read(length)


def _read_fifo(descriptor: int, limit: int) -> bytes:
    content = bytearray()
    deadline = time.monotonic() + FIFO_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if select.select([descriptor], [], [], left)[0]:
            part = os.read(descriptor, 1 << 16)
            if not part and content:
                return bytes(content)
            content += part
            if len(content) > limit:
                raise TooLargeError
            if not part:
                time.sleep(0.02)  # no process has opened it for writing yet
    raise OSError(errno.EPIPE, "nobody writes to it")
