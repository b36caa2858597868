"""The routes of the hook, which follow the files that they stand in: a pass reads them anew each time too."""

import threading
from pathlib import Path

from loguru import logger

from imageporter.config.configuration import configuration
from imageporter.system import logs
from imageporter.config.configuration import Config
from imageporter.hook.routes import Routes
from imageporter.config.settings import Settings


class Followed:
    """The routes of `known`, which was read with `settings`, and those of the files' later states."""

    def __init__(self, settings: Settings, known: Config) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stamps = _stamps(settings)
        self._routes = Routes(known.rules, known.rows)

    def routes(self) -> Routes:
        """The routes as the files have them now; as they were, where there is a mistake in a file now."""
        with self._lock:
            stamps = _stamps(self._settings)
            if stamps != self._stamps:
                self._stamps = stamps
                mistakes: list[str] = []
                known = config.read(self._settings, mistakes, config.OF_THE_HOOK)
                if mistakes:
                    logger.error("the files have changed, and cannot be used; the hook goes on with what it knew")
                    for mistake in mistakes:
                        logger.error("{}", logs.plain(mistake))
                else:
                    logger.info("the files have changed, and were read anew")
                    self._routes = Routes(known.rules, known.rows)
            return self._routes


def _stamps(settings: Settings) -> dict[Path, tuple[int, ...]]:
    """What tells one state of the files from another."""
    stamps: dict[Path, tuple[int, ...]] = {}
    for path in config.candidates(settings):
        try:
            found = path.stat()
        except OSError:
            continue
        stamps[path] = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
    return stamps
