"""Errors that end a script, the collector of a user's mistakes, and the one place that catches errors."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from loguru import logger

from imageporter.system import logs
from imageporter.system.processes import forbid_core_files
from imageporter.system.signals import InterruptedPassError

MOST_PROBLEMS = 200


class UserError(Exception):
    """The user's settings or files are invalid, and nothing was attempted.

    `lines` holds one line for each mistake. It names the variable, or the file and the location in it, what was found
    there and how to fix it.
    """

    exit_code = 2
    level = "ERROR"

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


class AlreadyRunningError(UserError):
    """Another pass holds the lock (75 is EX_TEMPFAIL of sysexits.h: try again later)."""

    exit_code = 75


class QueueRunPostponedError(AlreadyRunningError):
    """The same for a queue run. It is logged at INFO, because the next queue run follows soon."""

    level = "INFO"


class Problems:
    """Collects the mistakes in the settings and files, so that the user sees all of them at once."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, location: object, text: str) -> None:
        """Add the mistake `text` at `location`: a variable, a flag, a file, or a location in a file."""
        self._lines.append(f"{location}: {text}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def raise_if_any(self) -> None:
        """Raise UserError if anything was added."""
        if len(self._lines) > MOST_PROBLEMS:
            raise UserError(
                [*self._lines[:MOST_PROBLEMS], f"and {len(self._lines) - MOST_PROBLEMS} more problems; correct these first"]
            )
        if self._lines:
            raise UserError(self._lines)


def error_handler(run: Callable[[], int]) -> int:
    """Return the exit code of `run`, a script's work. Errors are logged.

    A user's mistake is logged as one line, without a traceback. A bug is logged as one line, with its traceback at DEBUG.
    """
    forbid_core_files()
    logs.configure()
    try:
        _require_working_directory()
        return run()
    except UserError as error:
        for line in error.lines:
            logger.log(error.level, "{}", line)
        return error.exit_code
    except InterruptedPassError as error:
        logger.warning("interrupted before anything was attempted")
        return error.exit_code
    except Exception as error:
        logs.log_bug(error)
        return 1


def _require_working_directory() -> None:
    """Raise UserError if the working directory was removed, perhaps by a deployment that replaces it."""
    try:
        Path.cwd()
    except OSError:
        raise UserError(["the working directory does not exist any more; change to one that does"]) from None
