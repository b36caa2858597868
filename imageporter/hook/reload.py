"""Reloading the routes of the hook when a file changes, because a pass reads the files anew each time, too."""

import threading
from pathlib import Path

from loguru import logger

from imageporter.config.configuration import FOR_HOOK, Configuration, load_configuration, watched_files
from imageporter.config.settings import Settings
from imageporter.hook.routes import Routes
from imageporter.system.errors import Problems


class RouteReloader:
    """The routes in the files that `settings` name. `configuration` is their content at the start."""

    def __init__(self, settings: Settings, configuration: Configuration) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._stamps = _stamps(settings)
        self._routes = Routes(configuration.rules, configuration.routes)

    def current(self) -> Routes:
        """Return the routes in the files now. If there is a mistake in a file now, return the routes as they were before."""
        with self._lock:
            stamps = _stamps(self._settings)
            if stamps != self._stamps:
                self._stamps = stamps
                self._reload()
            return self._routes

    def _reload(self) -> None:
        problems = Problems()
        configuration = load_configuration(self._settings, problems, FOR_HOOK)
        if problems:
            logger.error("the files have changed and have mistakes; the hook keeps the previous rules")
            for problem in problems:
                logger.error("{}", problem)
        else:
            logger.info("the files have changed; the hook has reloaded them")
            self._routes = Routes(configuration.rules, configuration.routes)


def _stamps(settings: Settings) -> dict[Path, tuple[int, ...]]:
    """Return what changes when a file changes."""
    stamps: dict[Path, tuple[int, ...]] = {}
    for path in watched_files(settings):
        try:
            found = path.stat()
        except OSError:
            continue
        stamps[path] = (found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
    return stamps
