"""METRICS_FILE: the metrics as a file, for node_exporter's textfile collector."""

import os
from pathlib import Path

from loguru import logger

from imageporter.config.settings import Settings
from imageporter.store.database import directory_lock
from imageporter.system.atomic_files import replacing
from imageporter.system.errors import Problems
from imageporter.system.regular_files import TooLargeError, read_regular_file

START = b"# HELP imageporter_"
LARGEST = 1 << 30  # bytes


def check(path: Path, problems: Problems) -> None:
    """Add a problem unless `path` can be written, and what is there may be replaced."""
    try:
        reason = _reason_against(path)
    except OSError as error:
        reason = f"{str(path)!r} cannot be written: {error.strerror}; name another file"
    if reason:
        problems.add("METRICS_FILE", reason)


def _reason_against(path: Path) -> str:
    """Return why `path` cannot be METRICS_FILE; the empty string if it can. Raises OSError."""
    if path.is_dir():
        return f"{str(path)!r} is a directory; name a file in it, like imageporter.prom"
    if (path.exists() or path.is_symlink()) and not _is_ours(path):
        return f"{str(path)!r} exists and is not a metrics file; it would be replaced: name another"
    if not path.parent.is_dir():
        return f"the directory of {str(path)!r} does not exist; create it, or name another file"
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return f"user {os.getuid()} may not write in the directory of {str(path)!r}; correct its owner, or name another file"
    return ""


def _is_ours(path: Path) -> bool:
    """Return whether `path` is a file of our metrics: neither a device nor a file that somebody has named by mistake."""
    try:
        return not path.is_symlink() and path.is_file() and read_regular_file(path, LARGEST).startswith(START)
    except (OSError, TooLargeError):
        return False


def write(path: Path, settings: Settings, *, is_known: bool) -> None:
    """Replace METRICS_FILE, `path`, atomically: node_exporter may read it at any time.

    An error is logged, unless `is_known`: then it is among the problems of the settings.
    """
    from imageporter.monitoring import metrics  # noqa: PLC0415 (prometheus_client is slow to import; `check` needs none)

    level = "DEBUG" if is_known else "ERROR"
    try:
        if reason := _reason_against(path):
            logger.log(level, "METRICS_FILE: {}", reason)
            return
        content = metrics.render(settings.data_dir, per_image=settings.metrics_per_image)
        with directory_lock(path.parent), replacing(path) as file:
            file.write(content.decode())
    except OSError as error:
        logger.log(level, "METRICS_FILE: {} cannot be written: {}", path, error.strerror)
