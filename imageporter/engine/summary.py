"""The log lines of a pass, its summary, the content of report.json, and the exit code."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from loguru import logger

from imageporter.model.image import Image
from imageporter.model.outcome import Outcome, Status
from imageporter.model.rule import Rule
from imageporter.registry.errors import RegistryError
from imageporter.system import logs
from imageporter.system.stopwatch import Stopwatch

PASS = "pass"  # noqa: S105 (no password)
QUEUE_RUN = "queue run"
# In the counts an interrupted image is a failed one, too.
_COUNTED = (Status.COPIED, Status.SKIPPED, Status.FAILED, Status.WOULD_COPY)
_FAILED = frozenset({Status.FAILED, Status.INTERRUPTED})


def log_pass_start(rules: Sequence[Rule], name: str, *, dry_run: bool) -> Stopwatch:
    """Log that the pass (or queue run) `name` begins, with its number of images as far as known; return its stopwatch."""
    note = " (DRY_RUN: nothing will be copied)" if dry_run else ""
    images = len({(image.source, image.target) for rule in rules if not rule.needs_listing for image in rule.images()})
    unlisted = sum(rule.needs_listing for rule in rules)
    parts = [_quantity(images, "image")] if images or not unlisted else []
    parts += [f"{_quantity(unlisted, 'rule')} whose tags are to be listed"] if unlisted else []
    message = f"{name} of {' and '.join(parts)}{note}"
    logs.log_event("pass.start", message, images=images, rules=unlisted or None)
    return Stopwatch()


def log_image_retry(image: Image, error: RegistryError, attempt: int, delay: float) -> None:
    """Log that `image` is attempted again `delay` seconds after the failure of `attempt`."""
    message = f"retrying in {delay:g} s: {image}: {error}"
    source, target = str(image.source), str(image.target)
    logs.log_event("image.retry", message, "WARNING", source=source, target=target, attempt=attempt, error=str(error))


def log_image_done(outcome: Outcome) -> None:
    """Log how an image ended."""
    message = f"{outcome.status:<10} {outcome.image}"
    if outcome.error is not None:
        logs.log_event("image.done", f"{message}: {outcome.error}", "ERROR", **outcome.row())
    elif outcome.status is Status.INTERRUPTED:
        logs.log_event("image.done", message, "WARNING", **outcome.row())
    else:
        digest = (outcome.digest or "")[:19]
        logs.log_event("image.done", f"{message} ({digest}, {outcome.seconds:.2f} s)", **outcome.row())


def log_pass_done(outcomes: Sequence[Outcome], name: str, stopwatch: Stopwatch) -> None:
    """Log the summary: the counts, then each failure; one line for all images of a registry that was given up."""
    counts = summarize(outcomes, stopwatch)
    words = ", ".join(f"{counts[_key(one)]} {one}" for one in _COUNTED if one is not Status.WOULD_COPY or counts[_key(one)])
    how = "interrupted" if "interrupted" in counts else "done"
    level = "WARNING" if counts["failed"] else "INFO"
    logs.log_event("pass.done", f"{name} {how}: {words} in {stopwatch.seconds:.1f} s", level, **counts)
    failed = [outcome for outcome in outcomes if outcome.status is Status.FAILED]
    for outcome in failed:
        if outcome.unavailable is None:
            logger.error("failed: {}: {}", outcome.image, outcome.error)
    given_up = Counter((outcome.unavailable, outcome.error) for outcome in failed if outcome.unavailable is not None)
    for (host, error), count in given_up.items():
        logger.error("failed: {} of {}, which was given up: {}", _quantity(count, "image"), host, error)
    if interrupted := counts.get("interrupted"):
        message = "interrupted: {} of the {} images were not finished; the next pass continues with them"
        logger.warning(message, interrupted, len(outcomes))


def summarize(outcomes: Sequence[Outcome], stopwatch: Stopwatch) -> dict[str, Any]:
    """Return the counts of a pass and its seconds. `interrupted`, if any image was, counts a part of `failed`."""
    counts = Counter(outcome.status for outcome in outcomes)
    interrupted = counts[Status.INTERRUPTED]
    counts[Status.FAILED] += interrupted
    part = {"interrupted": interrupted} if interrupted else {}
    return {_key(status): counts[status] for status in _COUNTED} | part | {"seconds": round(stopwatch.seconds, 3)}


def report_content(outcomes: Sequence[Outcome], stopwatch: Stopwatch, exit_code: int) -> dict[str, Any]:
    """Return the content of report.json: the summary, and one row per image."""
    return {
        "started": stopwatch.started.isoformat(timespec="seconds"),
        "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
        "exit_code": exit_code,
        **summarize(outcomes, stopwatch),
        "images": [outcome.row() for outcome in outcomes],
    }


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return 0 if no image failed, else 1."""
    return int(any(outcome.status in _FAILED for outcome in outcomes))


def _quantity(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _key(status: Status) -> str:
    return status.value.replace("-", "_")
