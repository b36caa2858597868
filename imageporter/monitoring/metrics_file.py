"""METRICS_FILE: the metrics as a file, for node_exporter's textfile collector."""

import os
from pathlib import Path

from loguru import logger

from imageporter.config.settings import Settings
from imageporter.system.atomic_files import replacing
from imageporter.system.errors import Problems


def check(path: Path, problems: Problems) -> None:
    """Add a problem unless `path` can be written."""
    if path.is_dir():
        problems.add("METRICS_FILE", f"{str(path)!r} is a directory; name a file in it, like imageporter.prom")
    elif not path.parent.is_dir():
        problems.add("METRICS_FILE", f"the directory of {str(path)!r} does not exist; create it, or name another file")
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        text = f"user {os.getuid()} may not write in the directory of {str(path)!r}; correct its owner, or name another file"
        problems.add("METRICS_FILE", text)


def write(settings: Settings) -> None:
    """Replace METRICS_FILE, atomically: node_exporter may read it at any time. An error is logged."""
    from imageporter.monitoring import metrics  # noqa: PLC0415 (prometheus_client is slow to import; `check` needs none)

    path = settings.metrics_file
    try:
        if path is not None:
            content = metrics.render(settings.data_dir, per_image=settings.metrics_per_image)
            with replacing(path) as file:
                file.write(content.decode())
    except OSError as error:
        logger.error("METRICS_FILE: {} cannot be written: {}", path, error.strerror)
