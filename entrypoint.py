#!/usr/bin/env python3
"""The container's entry point: validate everything, then run one pass (RUN_ONCE) or passes on a schedule (CRON).

`entrypoint.py hook` receives webhooks instead: see hook.py. `entrypoint.py sync` runs sync.py with the flags that follow.

Exit codes: those of sync.py with RUN_ONCE; otherwise 2 invalid settings or files, 130 or 143 interrupted (SIGINT,
SIGTERM), 1 the schedule has no further run, or supercronic's own code if it ends by itself.
"""

import sys

from imageporter.system.signals import Shutdown, exit_on_signals

if __name__ == "__main__":
    exit_on_signals()
    if sys.argv[1:2] == ["supervise"]:  # this script itself calls it so, when all is validated
        from imageporter.schedule import supervisor

        sys.exit(supervisor.main(sys.argv[2:]))

from imageporter.config import command_line
from imageporter.system.libraries import require_libraries

if __name__ == "__main__":
    asked = sys.argv[2:] if sys.argv[1:2] == ["hook"] else sys.argv[1:]
    command_line.print_settings_help(asked, __doc__)  # before the slow imports
    require_libraries()

import shlex
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from loguru import logger

from imageporter.config.settings import Settings, read_settings
from imageporter.system.errors import Problems, UserError, error_handler
from imageporter.system.heartbeat import touch_heartbeat
from imageporter.system.memory_files import in_memory
from imageporter.system.programs import find_program


def main(argv: Sequence[str]) -> int:
    """Run what the environment says, or the hook; return the exit code."""
    if argv == ["hook"]:
        import hook  # noqa: PLC0415 (a pass needs no HTTP server)

        return hook.main([])
    command, flags = argv[:1], argv[1:]
    if command not in ([], ["sync"]):
        message = "entrypoint.py takes no argument, or hook, or sync and the flags of sync.py"
        raise UserError([f"{message}; found {shlex.join(argv)}; settings are environment variables"])
    settings = read_settings({}, Problems())  # sync.py reports the problems
    if command or settings.run_once:
        import sync  # noqa: PLC0415 (the hook needs no pass)

        with suppress(OSError):  # the pass runs anyway
            touch_heartbeat(settings.alive_file, for_good=True)
        return sync.main(flags)
    return run_schedule()


def run_schedule() -> NoReturn:
    """Validate everything, and become the supervisor of supercronic."""
    import sync  # noqa: PLC0415
    from imageporter.engine.reporting import Reporter  # noqa: PLC0415
    from imageporter.schedule import crontab, supervisor  # noqa: PLC0415
    from imageporter.schedule.supercronic import Supercronic  # noqa: PLC0415

    with Shutdown() as shutdown:
        problems = Problems()
        settings = sync.read_into([], problems, shutdown).settings
        executable = find_program("supercronic", settings.supercronic, problems)
        schedules = {"CRON": settings.cron, "HOOK_CRON": settings.hook_cron}
        scheduler = Supercronic(executable, settings.tz, shutdown)
        next_runs = {
            name: scheduler.validate(name, schedule, problems)
            for name, schedule in schedules.items()
            if executable and schedule
        }
        _check_heartbeat(settings, problems)
        with Reporter(settings, shutdown).refusal_reported():
            problems.raise_if_any()

        descriptor = in_memory(crontab.render(settings))
        logger.info("scheduled: {}; the next pass is at {}", settings.cron, next_runs["CRON"])
        if settings.hook_cron and ("hook_cron" in settings.given or settings.hook_cron != Settings.hook_cron):
            logger.info("queue runs: {}; the next one is at {}", settings.hook_cron, next_runs["HOOK_CRON"])
        shutdown.block()
        first_pass = (sys.executable, sync.__file__, "--scheduled") if settings.run_at_start else ()
        log = (settings.log_level, settings.log_format, settings.no_color)
        supervisor.execute((__file__, executable, str(descriptor)), log, first_pass)


def _check_heartbeat(settings: Settings, problems: Problems) -> None:
    try:
        touch_heartbeat(settings.alive_file, for_good=settings.run_at_start)  # until supercronic touches it
    except OSError as error:
        text = f"{str(settings.alive_file)!r} cannot be written: {error.strerror}"
        problems.add("ALIVE_FILE", f"{text}; name a file in a directory that exists")


if __name__ == "__main__":
    sys.exit(error_handler(lambda: main(sys.argv[1:])))
