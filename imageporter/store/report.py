"""The report file: the last pass, or the last queue run, as JSON."""

import json
import os
from pathlib import Path
from typing import Any

from loguru import logger

REPORT = "report.json"
QUEUE_REPORT = "report-queue.json"


def write_report(path: Path, content: dict[str, Any]) -> None:
    """Replace the file `path` by `content`, atomically. An error is logged, because the pass itself is done."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        logger.error("{} cannot be written: {}", path, error.strerror)
        temporary.unlink(missing_ok=True)


def read_report(path: Path) -> dict[str, Any] | None:
    """Return the content of the report `path` without its images, or None if there is no readable report."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {key: value for key, value in content.items() if key != "images"}
    except (OSError, ValueError, AttributeError):
        return None
