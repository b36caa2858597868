"""supercronic's opinion of a schedule, before it runs."""

import json
import os
import subprocess
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from loguru import logger

from imageporter.config.settings import tool_environ
from imageporter.config.values import schedule_shown
from imageporter.system.errors import Problems
from imageporter.system.memory_files import in_memory, path_of
from imageporter.system.processes import bounded_process
from imageporter.system.signals import Shutdown

FIELDS_WITH_YEAR = 6
FIELDS = (1, 5, FIELDS_WITH_YEAR, 7)
CHECK_SECONDS = 60
NEXT_RUN = "job will run next at "
NEVER = "0001-01-01"  # Go's zero time
TIME, LENGTH_OF_TIME = "%Y-%m-%d %H:%M:%S %z", len("2026-11-24 00:00:00 +0800")
UNUSABLE = (OSError, ValueError, LookupError, TypeError, subprocess.TimeoutExpired)


@dataclass(frozen=True)
class Supercronic:
    """supercronic as a parser of schedules: the program `executable`, which reads them in the time zone `tz`."""

    executable: str
    tz: str | None
    shutdown: Shutdown

    def validate(self, name: str, schedule: str, problems: Problems) -> str:
        """Let supercronic parse the `schedule` of the variable `name`, and return its next run.

        The next run is in supercronic's words: `2026-11-24 00:00:00 +0800 CST`. A schedule that supercronic does not accept,
        or that never comes, is added to `problems`. Raises InterruptedPassError.
        """
        next_run = ""
        crontab = _crontab(schedule)
        try:
            reason = self._rejection(crontab, schedule)
            if reason is not None:
                shown = schedule_shown(schedule)
                why = f": {reason}" if shown == repr(schedule) else ""  # supercronic quotes what it does not understand
                problems.add(name, f"{shown} is not a schedule{why}; write one like '0 0 * * *'")
            elif (next_run := self._next_run(crontab)).startswith(NEVER):
                problems.add(name, f"{schedule!r} never comes; correct its day, month or year")
            elif len(schedule.split()) == FIELDS_WITH_YEAR and schedule.endswith("*"):
                message = "{}: {!r} has six fields, so the last one is the year; to begin with seconds, write seven fields"
                logger.warning(message, name, schedule)
        except UNUSABLE as error:
            text = f"{self.executable!r} does not work as supercronic ({type(error).__name__})"
            problems.add("SUPERCRONIC", f"{text}; set it to the path of supercronic")
        os.close(crontab)
        return next_run

    def next_run(self, schedule: str) -> str | None:
        """Return when the valid `schedule` comes next (RFC 3339), or None if supercronic does not say.

        Raises InterruptedPassError.
        """
        crontab = _crontab(schedule)
        try:
            return datetime.strptime(self._next_run(crontab)[:LENGTH_OF_TIME], TIME).isoformat()  # noqa: DTZ007 (TIME has a zone)
        except UNUSABLE:
            return None
        finally:
            os.close(crontab)

    def _rejection(self, crontab: int, schedule: str) -> str | None:
        """Return why supercronic does not accept `schedule`, the only line of `crontab`, or None if it does.

        supercronic takes as many fields as make a schedule and runs the rest as a command. So a line that it calls valid is
        only good if it parsed all fields of `schedule`, which its debug lines show.
        """
        with self._running(crontab, "-test") as process:
            _, output = process.communicate()
        lines = [str(json.loads(line)["msg"]) for line in output.splitlines()]
        fields = len(schedule.split())
        failure = next((line for line in lines if line.startswith(f"failed to parse ({fields} fields)")), None)
        if fields not in FIELDS:
            return f"it has {fields} fields, not 5, 6 (with the year last) or 7 (with seconds first, the year last)"
        if failure is not None:
            return failure.rpartition("failed: ")[2]
        if process.returncode or not any(line.startswith(f"try parse ({fields} fields)") for line in lines):
            return "supercronic reads no schedule in it"
        return None

    def _next_run(self, crontab: int) -> str:
        """Return when the schedule in `crontab` comes next, in supercronic's words; it begins with NEVER for 30 February."""
        with self._running(crontab) as process:
            found = (line.partition(NEXT_RUN)[2].partition('"')[0] for line in process.stderr or () if NEXT_RUN in line)
            next_run = next(found, None)
        if next_run is None:
            raise ValueError("supercronic does not log the next run")
        return next_run

    def _running(self, crontab: int, *flags: str) -> AbstractContextManager["subprocess.Popen[str]"]:
        command = (self.executable, *flags, "-debug", "-json", "-no-reap", path_of(crontab))
        environ = tool_environ(requests=False) | ({"TZ": self.tz} if self.tz else {})
        return bounded_process(command, CHECK_SECONDS, self.shutdown, environ, (crontab,))


def _crontab(schedule: str) -> int:
    return in_memory(os.fsencode(f"{schedule} true\n"))
