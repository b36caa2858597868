"""The errors that end a script, each with its exit code, and the one place that catches them."""

from collections.abc import Callable, Iterable

from loguru import logger

from imageporter.system import logs
from imageporter.config.settings import Settings
from imageporter.system.signals import InterruptedPassError


class UserError(Exception):
    """The user's settings or files are wrong: nothing was tried.

    `lines` holds one line a mistake, each naming the variable, or the file and the path in it,
    what was found there and what to do.
    """

    exit_code = 2
    level = "ERROR"

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


class AlreadyRunningError(UserError):
    """Another pass holds the lock (75 is EX_TEMPFAIL of sysexits.h: try again later)."""

    exit_code = 75


class QueueWaitsError(AlreadyRunningError):
    """The same to a run over the queue, which comes again soon: no reason to worry anybody."""

    level = "INFO"


def at_the_edge(run: Callable[[], int]) -> int:
    """The exit code of `run`, a script's work; what it raises is logged.

    A user's mistake is one line each, without a traceback; ours is one line, with its traceback at DEBUG.
    """
    logs.configure(Settings())
    try:
        return run()
    except UserError as error:
        for line in error.lines:
            logger.log(error.level, "{}", logs.plain(line))
        return error.exit_code
    except InterruptedPassError as error:
        logger.warning("interrupted before anything was tried")
        return error.exit_code
    except Exception as error:
        logs.bug(error)
        return 1
