#!/usr/bin/env python3
"""One pass: make every target image equal to its source image; with --queue, of those that were hooked.

Exit codes: 0 all well, 1 an image failed, 2 the settings or files are wrong and nothing was tried,
75 another pass is running, 130 or 143 interrupted (SIGINT, SIGTERM).
"""

import sys

from imageporter.system.signals import InterruptedPassError, Stop, exit_on_signals

if __name__ == "__main__":
    exit_on_signals()

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from imageporter.config.configuration import configuration
from imageporter.registry import crane
from imageporter.store import push_queue
from imageporter.store import locks
from imageporter.system import logs
from imageporter.store import records
from imageporter.engine import summary
from imageporter.system import programs
from imageporter.config.accounts_file import Accounts
from imageporter.system.errors import UserError, at_the_edge
from imageporter.model.rule import Rule
from imageporter.config.settings import Settings, load
from imageporter.engine.sync import Stages


@dataclass(frozen=True)
class Plan:
    """What a pass is about to do, read and checked."""

    settings: Settings
    accounts: Accounts
    rules: tuple[Rule, ...]
    crane: str


def main(argv: Sequence[str]) -> int:
    """Run one pass with the flags `argv`; gives its exit code."""
    with Stop() as stop:
        mistakes: list[str] = []
        plan = read(argv, mistakes, stop)
        if mistakes:
            raise UserError(mistakes)

        data_dir, over_queue = plan.settings.data_dir, plan.settings.queue
        if over_queue and hook_queue.is_empty(data_dir):
            return 0
        with (
            lock.hold(data_dir, stop, queue=over_queue) as private,
            records.kept_in(data_dir) as known,
            hook_queue.kept_in(data_dir, needed=over_queue) as waiting,
        ):
            rules = (*plan.rules, *waiting.take())
            clock = report.pass_start(rules, plan.settings)
            doorway = crane.Crane(plan.crane, private, plan.accounts, plan.settings, stop)
            with doorway.ending():
                with suppress(InterruptedPassError):  # the stages tell it, image by image
                    doorway.login()
                outcomes = Stages(doorway, plan.settings, stop, known, waiting.settle).run(rules)
            code = stop.exit_code or report.exit_code(outcomes)

            report.write(data_dir / (report.QUEUE_REPORT if over_queue else report.REPORT), outcomes, clock, code)
            report.pass_done(outcomes, clock, plan.settings)
    return code


def read(argv: Sequence[str], mistakes: list[str], stop: Stop) -> Plan:
    """Read the settings and the files that they name; every mistake in them is added to `mistakes`."""
    settings = load(argv, mistakes)
    logs.configure(settings)
    known = config.read(settings, mistakes, config.Parts(images=not settings.queue))
    lock.prepare(settings.data_dir, mistakes)
    executable = tools.find("crane", settings.crane, mistakes)
    if executable:
        tools.prove(executable, mistakes, stop)
    return Plan(known.settings, known.accounts, known.rules, executable)


if __name__ == "__main__":
    sys.exit(at_the_edge(lambda: main(sys.argv[1:])))
