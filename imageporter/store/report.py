"""The report files, as JSON: of the last pass, of the last queue run, and of the last dry run of either."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from loguru import logger

from imageporter.store.database import directory_lock

REPORT = "report.json"
QUEUE_REPORT = "report-queue.json"


def report_path(data_dir: Path, *, queue_only: bool, dry_run: bool) -> Path:
    """Return the report file of a pass, or of a queue run. A dry run has a file of its own: it says nothing about targets."""
    path = data_dir / (QUEUE_REPORT if queue_only else REPORT)
    return path.with_stem(f"{path.stem}-dry-run") if dry_run else path


def write_report(path: Path, content: dict[str, Any], *, unless_newer_than: float | None = None) -> None:
    """Replace the file `path` by `content`, atomically. An error is logged, because the pass itself is done.

    A file that was written after `unless_newer_than` (seconds since 1970) is not replaced.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with directory_lock(path.parent):
            if unless_newer_than is not None and path.exists() and path.stat().st_mtime > unless_newer_than:
                return
            temporary.unlink(missing_ok=True)  # a killed pass has left it, or somebody has put a link there
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            # A name may hold bytes that are no text; their escapes are those of JSON.
            with open(os.open(temporary, flags, 0o644), "w", encoding="utf-8", errors="backslashreplace") as file:
                json.dump(content, file, ensure_ascii=False, indent=1)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    except OSError as error:
        logger.error("{} cannot be written: {}", path, error.strerror)
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_report(path: Path) -> dict[str, Any] | None:
    """Return the content of the report `path` without its images, or None if there is no readable report."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {key: value for key, value in content.items() if key != "images"}
    except (OSError, ValueError, AttributeError):
        return None
