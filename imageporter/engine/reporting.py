"""The reports of runs: how each ended, or why it did not start. They are written, and sent to those who want to know."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast

from imageporter.config.settings import Settings
from imageporter.engine.merging import merge
from imageporter.engine.summary import summarize
from imageporter.model.outcome import Outcome
from imageporter.model.report import SCHEMA_VERSION, Report, RunKind, failing_since, is_failure
from imageporter.model.shard import Shard
from imageporter.model.traffic import Traffic
from imageporter.monitoring import announcements
from imageporter.store import locks
from imageporter.store.report import read_report, report_path, write_report
from imageporter.system.errors import AlreadyRunningError, QueueRunPostponedError, UserError
from imageporter.system.signals import Shutdown
from imageporter.system.stopwatch import Stopwatch

NO_TRAFFIC = Traffic()
OF_SHARDS = ("SHARD:", "SHARDS:", "JOB_COMPLETION_INDEX:")


class Reporter:
    """Writes the report of a run, and notifies those whom its `settings` name."""

    def __init__(self, settings: Settings, shutdown: Shutdown) -> None:
        self._settings = settings
        self._shutdown = shutdown
        self._previous: Report | None = None
        self._kind: RunKind = "queue" if settings.queue_only else "images" if settings.image_arguments else "pass"
        self._path = report_path(settings.state_dir, self._kind, dry_run=settings.dry_run)

    def report_start(self) -> None:
        """Tell that the run begins."""
        announcements.announce_start(self._settings, self._shutdown)

    def write(
        self,
        outcomes: Sequence[Outcome],
        stopwatch: Stopwatch,
        exit_code: int,
        traffic: Traffic = NO_TRAFFIC,
        next_pass: str | None = None,
    ) -> Report:
        """Write and return how a run ended: the summary, and one row per image.

        `next_pass` is when the schedule comes next. A run by hand does not know it, so it keeps what the schedule said.
        """
        content = self._content(outcomes, stopwatch, exit_code, traffic)
        known = content["next_pass"]
        is_to_come = known is not None and datetime.fromisoformat(known) > datetime.now().astimezone()
        content["next_pass"] = next_pass or (known if is_to_come else None)
        content["images"] = [cast("Any", outcome.row()) for outcome in outcomes]
        write_report(self._path, content)
        return content

    def announce(self, report: Report) -> None:
        """Tell how a run ended."""
        announcements.announce(self._settings, report, self._previous, self._shutdown)

    @contextmanager
    def refusal_reported(self) -> Iterator[None]:
        """A context that reports a UserError. Otherwise the file would still show the last good pass."""
        stopwatch = Stopwatch()
        try:
            yield
        except QueueRunPostponedError:
            raise
        except UserError as error:
            # Somebody only looks; or it is not known whose report it would be.
            if self._settings.explain is not None or any(line.startswith(OF_SHARDS) for line in error.lines):
                raise
            content = self._content((), stopwatch, error.exit_code, NO_TRAFFIC)
            content["problems"] = [line.encode(errors="backslashreplace").decode() for line in error.lines]
            content["images"] = []
            # The running pass may have written its own report, which matters more. It wrote the lock when it began. The second
            # refusal in a row replaces the report of the first one.
            is_first = isinstance(error, AlreadyRunningError) and not is_failure(error.exit_code, self._previous)
            newest = locks.held_since(self._settings.state_dir) if is_first else None
            if os.access(self._settings.state_dir, os.W_OK):  # otherwise that is one of the problems
                write_report(self._path, content, unless_newer_than=newest)
            self.announce(content)
            raise

    def report_empty_queue(self) -> None:
        """Replace the report of a queue run that failed or could not start: this one could, and nothing is left to do."""
        if (read_report(self._path) or {"exit_code": 0}).get("exit_code") != 0:
            self.announce(self.write((), Stopwatch(), 0))

    def _content(self, outcomes: Sequence[Outcome], stopwatch: Stopwatch, exit_code: int, traffic: Traffic) -> Report:
        """Return the report without its images. Since when runs fail is known from the previous one."""
        started = stopwatch.started.isoformat(timespec="seconds")
        finished = datetime.now().astimezone().isoformat(timespec="seconds")
        content: Any = {
            "schema_version": SCHEMA_VERSION,
            "run": self._kind,
            "started": started,
            "finished": finished,
            "dry_run": self._settings.dry_run,
            "exit_code": exit_code,
            **summarize(outcomes, stopwatch),
            "lookups": traffic.lookups,
            "backoffs": traffic.backoffs,
            "pulls_left": traffic.pulls_left,
            **self._history(started, finished, exit_code),
        }
        return cast("Report", content | ({"shard": str(self._settings.shard)} if self._settings.shard else {}))

    def _history(self, started: str, finished: str, exit_code: int) -> dict[str, str | None]:
        """Return since when runs fail, when the last one succeeded and when the next one comes, given the previous report."""
        self._previous = read_report(self._path)
        known: Any = self._previous or {}
        since = failing_since(self._previous)
        last_success, next_pass = known.get("last_success"), known.get("next_pass")
        if exit_code == 0:
            since, last_success = None, finished
        elif is_failure(exit_code, self._previous):
            since = since or started
        return {"failing_since": since, "last_success": last_success, "next_pass": next_pass}

    def write_merged(self, found: Mapping[Shard, Report]) -> Report:
        """Write and return the report of all shards, whose own reports were `found`."""
        merged = merge(found, read_report(self._path))
        history = self._history(merged["started"], merged["finished"], merged["exit_code"])
        images = merged.pop("images")
        content = cast("Report", {"schema_version": SCHEMA_VERSION, "run": "pass", **merged, **history, "images": images})
        write_report(self._path, content)
        return content
