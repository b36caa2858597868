"""The report files, as JSON: of the last run of each kind, and of the last dry run of each."""

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from loguru import logger

from imageporter.model.report import Report, RunKind
from imageporter.store.database import directory_lock
from imageporter.system.atomic_files import replacing
from imageporter.system.regular_files import TooLargeError, read_regular_file, read_start

IMAGES = b',\n "images": ['
LARGEST_HEAD = 1 << 20  # bytes
LARGEST = 1 << 30  # bytes
COUNTS = ("copied", "skipped", "failed", "would_copy", "interrupted", "lookups", "backoffs")
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

    The images are the last key. They may be megabytes, and are not parsed. Keys of another type than ours are left out:
    somebody may have edited the file.
    """
    try:
        head, images, _ = read_start(path, LARGEST_HEAD).partition(IMAGES)
        content = json.loads(head + b"\n}" if images else read_regular_file(path, LARGEST))
        return cast("Report", {key: value for key, value in content.items() if _is_valid(key, value)})
    except (OSError, TooLargeError, ValueError, AttributeError, RecursionError):
        return None


def read_whole_report(path: Path) -> Report | None:
    """Return the content of the report `path` with its images, or None if there is no readable report."""
    try:
        content = json.loads(read_regular_file(path, LARGEST))
        images = content.pop("images", [])
        valid: Any = {key: value for key, value in content.items() if _is_valid(key, value)}
        times = [datetime.fromisoformat(valid[key]) for key in ("started", "finished")]
        is_whole = (
            all(time.tzinfo for time in times)
            and isinstance(valid["dry_run"], bool)
            and valid["exit_code"] in range(256)
            and all(isinstance(row[key], str) for row in images for key in ("source", "target", "outcome"))
            and all(isinstance(row["error"], str | None) for row in images)
        )
        return cast("Report", valid | {"images": images}) if is_whole else None
    except (OSError, TooLargeError, ValueError, LookupError, AttributeError, TypeError, RecursionError):
        return None


def _is_valid(key: str, value: object) -> bool:
    """Return whether `key` of a report may have this value. Keys that we do not know are kept."""
    return key != "images" and (key not in _CHECKS or _CHECKS[key](value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_time(value: object) -> bool:
    return value is None or isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


_CHECKS: Mapping[str, Callable[[object], bool]] = {
    **dict.fromkeys(("exit_code", "seconds", *COUNTS), _is_number),
    **dict.fromkeys(("started", "finished", "failing_since", "last_success", "next_pass"), _is_time),
    **dict.fromkeys(("problems", "missing"), _are_texts),
    "shard": lambda value: isinstance(value, str),
    "shards": lambda value: isinstance(value, dict) and all(isinstance(end, str) for end in value.values()),
    "pulls_left": lambda value: isinstance(value, dict) and all(isinstance(left, int) for left in value.values()),
}
