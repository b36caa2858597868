"""What the report files say: how a pass ended, or why it did not start."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from imageporter.config.settings import Settings
from imageporter.engine.summary import summarize
from imageporter.model.outcome import Outcome
from imageporter.store import locks
from imageporter.store.report import read_report, report_path, write_report
from imageporter.system.errors import AlreadyRunningError, QueueRunPostponedError, UserError
from imageporter.system.stopwatch import Stopwatch


def report_pass(settings: Settings, outcomes: Sequence[Outcome], stopwatch: Stopwatch, exit_code: int) -> None:
    """Write the report of a pass: the summary, and one row per image."""
    content = _content(settings, outcomes, stopwatch, exit_code)
    content["images"] = [outcome.row() for outcome in outcomes]
    write_report(_path(settings), content)


@contextmanager
def refusal_reported(settings: Settings) -> Iterator[None]:
    """A context that writes a UserError into the report file. Otherwise the file would still show the last good pass."""
    stopwatch = Stopwatch()
    try:
        yield
    except QueueRunPostponedError:
        raise
    except UserError as error:
        if not os.access(settings.data_dir, os.W_OK):  # which is one of the problems
            raise
        content = _content(settings, (), stopwatch, error.exit_code) | {"problems": error.lines, "images": ()}
        # The running pass may have written its own report, which matters more. It wrote the lock when it began.
        newest = locks.held_since(settings.data_dir) if isinstance(error, AlreadyRunningError) else None
        write_report(_path(settings), content, unless_newer_than=newest)
        raise


def report_empty_queue(settings: Settings) -> None:
    """Replace the report of a queue run that could not start: this one could, and there was nothing to do."""
    if "problems" in (read_report(_path(settings)) or {}):
        report_pass(settings, (), Stopwatch(), 0)


def _path(settings: Settings) -> Path:
    return report_path(settings.data_dir, queue_only=settings.queue_only, dry_run=settings.dry_run)


def _content(settings: Settings, outcomes: Sequence[Outcome], stopwatch: Stopwatch, exit_code: int) -> dict[str, Any]:
    return {
        "started": stopwatch.started.isoformat(timespec="seconds"),
        "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
        "dry_run": settings.dry_run,
        "exit_code": exit_code,
        **summarize(outcomes, stopwatch),
    }
