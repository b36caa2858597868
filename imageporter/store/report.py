"""The report files, as JSON: of the last run of each kind, and of the last dry run of each."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from loguru import logger

from imageporter.model.report import Report, RunKind
from imageporter.store.database import directory_lock
from imageporter.system.atomic_files import replacing

IMAGES = ',\n "images": ['
LARGEST_HEAD = 1 << 20  # characters
REPORT = "report.json"
QUEUE_REPORT = "report-queue.json"
FILES: Mapping[RunKind, str] = {"pass": REPORT, "queue": QUEUE_REPORT, "images": "report-images.json"}


def report_path(data_dir: Path, run: RunKind, *, dry_run: bool) -> Path:
    """Return the report file of a kind of run. A dry run has a file of its own: it says nothing about targets."""
    path = data_dir / FILES[run]
    return path.with_stem(f"{path.stem}-dry-run") if dry_run else path


def write_report(path: Path, content: Report | dict[str, Any], *, unless_newer_than: float | None = None) -> None:
    """Replace the file `path` by `content`, atomically. An error is logged, because the pass itself is done.

    A file that was written after `unless_newer_than` (seconds since 1970) is not replaced.
    """
    try:
        with directory_lock(path.parent):
            if unless_newer_than is not None and path.exists() and path.stat().st_mtime > unless_newer_than:
                return
            with replacing(path) as file:  # its escapes are those of JSON
                json.dump(content, file, ensure_ascii=False, indent=1)
    except OSError as error:
        logger.error("{} cannot be written: {}", path, error.strerror)


def read_report(path: Path) -> Report | None:
    """Return the content of the report `path` without its images, or None if there is no readable report.

    The images are the last key. They may be megabytes, and are not parsed.
    """
    try:
        with path.open(encoding="utf-8") as file:
            head, images, _ = file.read(LARGEST_HEAD).partition(IMAGES)
            content = json.loads(head + "\n}" if images else head + file.read())
        return cast("Report", {key: value for key, value in content.items() if key != "images"})
    except (OSError, ValueError, AttributeError):
        return None
