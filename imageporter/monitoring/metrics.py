"""Prometheus metrics of the runs and the queue, from what they have left in DATA_DIR.

The names follow https://prometheus.io/docs/practices/naming/. Everything is a gauge: a pass is a process of its own, so no
counter could live on.
"""

import time
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, Info, generate_latest

from imageporter import __version__
from imageporter.model.report import Report
from imageporter.store.database import DATABASE_ERRORS
from imageporter.store.image_states import ImageStates
from imageporter.store.push_queue import NoQueueError, open_queue
from imageporter.store.report import QUEUE_REPORT, REPORT, read_report

OUTCOMES = ("copied", "skipped", "failed", "interrupted")
RUNS = {"pass": REPORT, "queue": QUEUE_REPORT}


def render(data_dir: Path, *, per_image: bool) -> bytes:
    """Return the metrics as Prometheus' text, with those of each image if `per_image`."""
    registry = CollectorRegistry()
    Info("imageporter_build", "The version of ImagePorter.", registry=registry).info({"version": __version__})
    reports = {run: read_report(data_dir / name) for run, name in RUNS.items()}
    _add_runs({run: report for run, report in reports.items() if report is not None}, registry)
    _add_queue(data_dir, registry)
    if per_image:
        _add_images(ImageStates(data_dir), registry)
    return generate_latest(registry)


def _add_runs(reports: dict[str, Report], registry: CollectorRegistry) -> None:
    """Add what the last pass and the last queue run say of themselves."""

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"imageporter_{name}", text, ("run", *labels), registry=registry)

    finished = gauge("last_run_timestamp_seconds", "When the last run ended.")
    succeeded = gauge("last_success_timestamp_seconds", "When the last run with exit code 0 ended; 0 if there was none.")
    failing = gauge(
        "failing_since_timestamp_seconds", "When the first run of the current series of failures began; 0 if none."
    )
    duration = gauge("last_run_duration_seconds", "How long the last run took.")
    exit_code = gauge("last_run_exit_code", "The exit code of the last run; 0 is success.")
    images = gauge("last_run_images", "Images of the last run.", "outcome")
    lookups = gauge("last_run_lookups", "Look-ups of digests in the last run.")
    backoffs = gauge("last_run_backoffs", "Back-offs of registries in the last run.")
    pulls = Gauge(
        "imageporter_registry_pulls_left",
        "Pulls that a registry still granted when asked last.",
        ("registry",),
        registry=registry,
    )
    for run, report in sorted(reports.items(), key=lambda one: str(one[1].get("finished"))):
        known: Any = report  # an earlier version did not write all of it
        finished.labels(run).set(_timestamp(known.get("finished")))
        succeeded.labels(run).set(_timestamp(known.get("last_success")))
        failing.labels(run).set(_timestamp(known.get("failing_since")))
        duration.labels(run).set(known.get("seconds", 0))
        exit_code.labels(run).set(known.get("exit_code", 0))
        for outcome in OUTCOMES:
            number = known.get(outcome, 0) - (known.get("interrupted", 0) if outcome == "failed" else 0)
            images.labels(run, outcome).set(number)
        lookups.labels(run).set(known.get("lookups", 0))
        backoffs.labels(run).set(known.get("backoffs", 0))
        for host, left in (known.get("pulls_left") or {}).items():
            pulls.labels(host).set(left)


def _add_queue(data_dir: Path, registry: CollectorRegistry) -> None:
    """Add the queue, unless it cannot be read now."""
    try:
        with open_queue(data_dir, required=False, read_only=True) as queue:
            status = queue.status()
    except NoQueueError:  # there is none without a hook
        status = {"images": 0, "oldest": None}
    except DATABASE_ERRORS:
        return
    oldest = status["oldest"] or 0
    values = {
        "length": ("Images in the queue of pushes.", status["images"]),
        "oldest_timestamp_seconds": ("When the oldest image in the queue was pushed; 0 if none.", oldest),
        "oldest_age_seconds": ("Age of the oldest image in the queue.", max(time.time() - oldest, 0) if oldest else 0),
    }
    for name, (text, value) in values.items():
        Gauge(f"imageporter_queue_{name}", text, registry=registry).set(value)


def _add_images(states: ImageStates, registry: CollectorRegistry) -> None:
    labels = ("source", "target")
    equal = Gauge(
        "imageporter_image_up_to_date", "1 if the target was equal to the source in the last run.", labels, registry=registry
    )
    verified = Gauge(
        "imageporter_image_last_verified_timestamp_seconds",
        "When the target was last found equal to the source; 0 if never.",
        labels,
        registry=registry,
    )
    for image in states.select():
        equal.labels(image.source, image.target).set(image.is_up_to_date)
        verified.labels(image.source, image.target).set(image.verified or 0)


def _timestamp(text: str | None) -> float:
    """Return a time of a report in seconds since 1970; 0 if there is none."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else 0
    except (ValueError, TypeError):
        return 0
