"""The crontab that supercronic runs, rendered from crontab.tmpl."""

import fcntl
import os
import shlex
import string
import sys

from imageporter.config.settings import Settings
from imageporter.store import push_queue
from imageporter.system.programs import BUNDLE

F_ADD_SEALS, F_SEAL_SHRINK_GROW_WRITE = 1033, 0x2 | 0x4 | 0x8  # fcntl(2)


def in_memory(text: str) -> int:
    """Return the descriptor of a crontab that is in memory only: no file is left behind, however the process dies."""
    descriptor = os.memfd_create("crontab", os.MFD_ALLOW_SEALING)  # without MFD_CLOEXEC
    os.write(descriptor, os.fsencode(text))  # a path may hold bytes that are no text
    fcntl.fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK_GROW_WRITE)  # the passes inherit it, too
    return descriptor


def path_of(descriptor: int) -> str:
    """Return the path under which a child that inherits `descriptor` can open it."""
    return f"/dev/fd/{descriptor}"


def render(settings: Settings) -> str:
    """Return the crontab for the schedules in `settings`, without the lines whose variable is not set."""
    paths = {"PYTHON": sys.executable, "BUNDLE": BUNDLE, "QUEUE": settings.data_dir.absolute() / push_queue.FILE}
    if settings.alive_file:
        paths["ALIVE_FILE"] = settings.alive_file.absolute()
    values = {name: shlex.quote(str(path)) for name, path in paths.items()} | {"CRON": settings.cron}
    if settings.hook_cron:
        values["HOOK_CRON"] = settings.hook_cron
    lines = (string.Template(line) for line in (BUNDLE / "crontab.tmpl").read_text().splitlines(keepends=True))
    return "".join(line.substitute(values) for line in lines if values.keys() >= set(line.get_identifiers()))
