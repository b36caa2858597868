"""The crontab that supercronic runs, rendered from crontab.tmpl."""

import os
import shlex
import string
import sys

from imageporter.config.settings import Settings
from imageporter.store import queue_rows
from imageporter.system.programs import BUNDLE


def render(settings: Settings) -> bytes:
    """Return the crontab for the schedules in `settings`, without the lines whose variable is not set."""
    paths = {"PYTHON": sys.executable, "BUNDLE": BUNDLE, "QUEUE": settings.data_dir.absolute() / queue_rows.FILE}
    if settings.alive_file:
        paths["ALIVE_FILE"] = settings.alive_file.absolute()
    values = {name: shlex.quote(str(path)) for name, path in paths.items()} | {"CRON": settings.cron}
    if settings.hook_cron:
        values["HOOK_CRON"] = settings.hook_cron
    lines = (string.Template(line) for line in (BUNDLE / "crontab.tmpl").read_text().splitlines(keepends=True))
    text = "".join(line.substitute(values) for line in lines if values.keys() >= set(line.get_identifiers()))
    return os.fsencode(text)  # a path may hold bytes that are no text
