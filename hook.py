#!/usr/bin/env python3
"""The receiver of pushes: a registry that calls it has its image synced with the next run over the queue.

Exit codes: 2 the settings or files are wrong, 130 or 143 after SIGINT or SIGTERM, 1 where it ends by itself.
"""

import sys

from imageporter.system.signals import Stop, exit_on_signals

if __name__ == "__main__":
    exit_on_signals()

import shlex
from collections.abc import Sequence

from imageporter.hook import authentication
from imageporter.config.configuration import configuration
from imageporter.store import push_queue
from imageporter.store import locks
from imageporter.system import logs
from imageporter.hook import server
from imageporter.system.errors import UserError, at_the_edge
from imageporter.hook.reload import Followed
from imageporter.hook.app import Receiver
from imageporter.config.settings import HELP, load


def main(argv: Sequence[str]) -> int:
    """Receive until a signal comes; gives the exit code. There are no arguments."""
    if argv in (["-h"], ["--help"]):
        sys.stdout.write(HELP.format(__doc__))
        return 0
    if argv:
        raise UserError([f"hook.py takes no arguments, found {shlex.join(argv)}; settings are environment variables"])
    with Stop() as stop:
        mistakes: list[str] = []
        settings = load([], mistakes)
        logs.configure(settings)
        known = config.read(settings, mistakes, config.OF_THE_HOOK)
        lock.prepare(settings.data_dir, mistakes)
        callers.check(known.settings, mistakes)
        if mistakes:
            raise UserError(mistakes)

        with hook_queue.kept_in(settings.data_dir, needed=True) as queue:
            receiver = Receiver(known.settings, Followed(settings, known).routes, queue)
            return serving.serve(receiver.application(), known.settings, stop)


if __name__ == "__main__":
    sys.exit(at_the_edge(lambda: main(sys.argv[1:])))
