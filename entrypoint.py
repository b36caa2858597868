#!/usr/bin/env python3
"""The front door: check everything, then run one pass (RUN_ONCE) or hand over to supercronic (CRON).

Exit codes: those of sync.py where RUN_ONCE is set; else 2 where the settings or files are wrong,
130 or 143 after SIGINT or SIGTERM, 1 where the schedule's last day is over, and supercronic's own code where it
ends by itself.
"""

import sys

from imageporter.stop import Stop, exit_on_signals

if __name__ == "__main__":
    exit_on_signals()

import shlex
import string
import tempfile
from collections.abc import Sequence
from pathlib import Path

from loguru import logger

import sync
from imageporter import lock, supercronic, tools
from imageporter.errors import UserError, at_the_edge
from imageporter.settings import BUNDLE, load


def main(argv: Sequence[str]) -> int:
    """Do what the environment says; gives the exit code. There are no arguments."""
    if argv:
        raise UserError([f"entrypoint.py takes no arguments, found {shlex.join(argv)}; settings are environment variables"])
    if load([], []).run_once:
        return sync.main([])

    with Stop() as stop:
        mistakes: list[str] = []
        settings = sync.read([], mistakes, stop).settings
        executable = tools.find("supercronic", settings.supercronic, mistakes)
        if not lock.can_be_temporary():  # a mistake that is known already: no place for the crontab, to be judged
            raise UserError(mistakes)
        with tempfile.TemporaryDirectory(prefix="imageporter-crontab-") as folder:
            crontab = Path(folder) / "crontab"
            crontab.write_text(render(settings.cron))
            first = supercronic.judge(executable, crontab, settings.cron, mistakes, stop) if executable else ""
            if mistakes:
                raise UserError(mistakes)

            logger.info("scheduled: {}; the next pass is at {}", settings.cron, first)
            return supercronic.run(executable, crontab, stop)


def render(cron: str) -> str:
    """The crontab for the schedule `cron`."""
    template = string.Template((BUNDLE / "crontab.tmpl").read_text())
    return template.safe_substitute(CRON=cron, PYTHON=shlex.quote(sys.executable), BUNDLE=shlex.quote(str(BUNDLE)))


if __name__ == "__main__":
    sys.exit(at_the_edge(lambda: main(sys.argv[1:])))
