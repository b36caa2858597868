#!/usr/bin/env python3
"""The front door: check everything, then run one pass (RUN_ONCE) or hand over to supercronic (CRON).

`entrypoint.py hook` receives pushes instead: see hook.py.

Exit codes: those of sync.py where RUN_ONCE is set; else 2 where the settings or files are wrong,
130 or 143 after SIGINT or SIGTERM, 1 where the schedule's last day is over, and supercronic's own code where it
ends by itself.
"""

import sys

from imageporter.system.signals import Stop, exit_on_signals

if __name__ == "__main__":
    exit_on_signals()

import errno
import os
import shlex
import string
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from loguru import logger

import sync
from imageporter.store import push_queue
from imageporter.store import locks
from imageporter.schedule import supercronic
from imageporter.system import programs
from imageporter.system.errors import UserError, at_the_edge
from imageporter.config.settings import BUNDLE, HELP, Settings, load

FOR_GOOD = 1 << 32  # a second of the year 2106


def main(argv: Sequence[str]) -> int:
    """Do what the environment says, or `hook`; gives the exit code."""
    if argv == ["hook"]:
        import hook  # noqa: PLC0415 (the scheduled service, which runs for months, needs no HTTP server in its memory)

        return hook.main([])
    if argv in (["-h"], ["--help"]):
        sys.stdout.write(HELP.format(__doc__))
        return 0
    if argv:
        words = "entrypoint.py takes no argument but hook"
        raise UserError([f"{words}, found {shlex.join(argv)}; settings are environment variables"])
    settings = load([], [])
    if settings.run_once:
        with suppress(OSError):  # no reason to do without the pass
            show_life(settings.alive_file, for_good=True)
        return sync.main([])

    with Stop() as stop:
        mistakes: list[str] = []
        settings = sync.read([], mistakes, stop).settings
        executable = tools.find("supercronic", settings.supercronic, mistakes)
        if not lock.can_be_temporary():  # a mistake that is known already: no place for the crontab, to be judged
            raise UserError(mistakes)
        with tempfile.TemporaryDirectory(prefix="imageporter-crontab-") as folder:
            schedules = {"CRON": settings.cron, "HOOK_CRON": settings.hook_cron}
            next_times = {
                name: supercronic.judge(executable, Path(folder), name, cron, mistakes, stop)
                for name, cron in schedules.items()
                if executable and cron
            }
            try:
                show_life(settings.alive_file)
            except OSError as error:
                what = f"{str(settings.alive_file)!r} cannot be written: {error.strerror}"
                mistakes.append(f"ALIVE_FILE: {what}; name a file in a directory that is there")
            if mistakes:
                raise UserError(mistakes)

            crontab = Path(folder) / "crontab"
            crontab.write_text(render(settings))
            logger.info("scheduled: {}; the next pass is at {}", settings.cron, next_times["CRON"])
            if settings.hook_cron and "hook_cron" in settings.model_fields_set:
                logger.info("what was hooked: {}; the next run is at {}", settings.hook_cron, next_times["HOOK_CRON"])
            return supercronic.run(executable, crontab, stop)


def show_life(alive_file: Path | None, *, for_good: bool = False) -> None:
    """Touch the file that healthcheck.sh looks at; once and `for_good`, where nobody will again. Raises OSError."""
    if alive_file is None:
        return
    if alive_file.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    alive_file.touch()
    if for_good:
        os.utime(alive_file, (FOR_GOOD, FOR_GOOD))


def render(settings: Settings) -> str:
    """The crontab for the schedules in `settings`, without the lines whose variable is not set."""
    places = {"PYTHON": sys.executable, "BUNDLE": BUNDLE, "QUEUE": settings.data_dir.absolute() / hook_queue.FILE}
    places |= {"ALIVE_FILE": settings.alive_file.absolute()} if settings.alive_file else {}
    known = {name: shlex.quote(str(place)) for name, place in places.items()}
    known |= {"CRON": settings.cron} | ({"HOOK_CRON": settings.hook_cron} if settings.hook_cron else {})
    lines = (string.Template(line) for line in (BUNDLE / "crontab.tmpl").read_text().splitlines(keepends=True))
    return "".join(line.substitute(known) for line in lines if known.keys() >= set(line.get_identifiers()))


if __name__ == "__main__":
    sys.exit(at_the_edge(lambda: main(sys.argv[1:])))
