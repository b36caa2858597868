"""Files that are in memory only. Nothing is left behind, however the process dies, and no other user can read them."""

import fcntl
import os

F_ADD_SEALS, F_SEAL_SHRINK_GROW_WRITE = 1033, 0x2 | 0x4 | 0x8  # fcntl(2)


def in_memory(content: bytes) -> int:
    """Return the descriptor of a file in memory with `content`, which nobody can change. A child may inherit it."""
    descriptor = os.memfd_create("imageporter", os.MFD_ALLOW_SEALING)  # without MFD_CLOEXEC
    os.write(descriptor, content)
    fcntl.fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK_GROW_WRITE)
    return descriptor


def path_of(descriptor: int) -> str:
    """Return the path under which a child that inherits `descriptor` can open it."""
    return f"/dev/fd/{descriptor}"
