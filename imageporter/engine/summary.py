"""The log lines of a pass, its summary, and its exit code."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, cast

from loguru import logger

from imageporter.model.account import Accounts
from imageporter.model.image import Image
from imageporter.model.outcome import Outcome, Status
from imageporter.model.reference import Reference
from imageporter.model.report import Report
from imageporter.model.rule import Rule
from imageporter.registry.errors import ErrorKind, RegistryError
from imageporter.system import logs
from imageporter.system.stopwatch import Stopwatch

PASS = "pass"  # noqa: S105 (no password)
QUEUE_RUN = "queue run"
MOST_GROUPS = 50
FIRST = 3  # images of a group that the summary names
DOUBT = "the copy may fail, too, but some registries answer 401 or 403 for a repository that does not exist yet"
# In the counts an interrupted image is a failed one, too.
_COUNTED = (Status.COPIED, Status.SKIPPED, Status.FAILED, Status.WOULD_COPY)
_FAILED = frozenset({Status.FAILED, Status.INTERRUPTED})


def log_pass_start(rules: Sequence[Rule], name: str, *, dry_run: bool) -> Stopwatch:
    """Log that the pass (or queue run) `name` begins, with its number of images as far as known; return its stopwatch."""
    note = " (DRY_RUN: nothing will be copied)" if dry_run else ""
    images = len({(image.source, image.target) for rule in rules if not rule.needs_listing for image in rule.images()})
    unlisted = sum(rule.needs_listing for rule in rules)
    parts = [quantity(images, "image")] if images or not unlisted else []
    parts += [f"{quantity(unlisted, 'rule')} whose tags are to be listed"] if unlisted else []
    message = f"{name} of {' and '.join(parts)}{note}"
    logs.log_event("pass.start", message, images=images, rules=unlisted or None, dry_run=dry_run or None)
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
    elif outcome.warning is not None:
        logs.log_event("image.done", f"{message}: {outcome.warning}; {DOUBT}", "WARNING", **outcome.row())
    elif outcome.status is Status.INTERRUPTED:
        logs.log_event("image.done", message, "WARNING", **outcome.row())
    else:
        digest = (outcome.digest or "")[:19]
        logs.log_event("image.done", f"{message} ({digest}, {outcome.seconds:.2f} s)", **outcome.row())


def log_pass_done(outcomes: Sequence[Outcome], name: str, stopwatch: Stopwatch, accounts: Accounts) -> None:
    """Log the summary: the counts, then the failures and warnings, which were logged before, by registry and reason."""
    counts = summarize(outcomes, stopwatch)
    how = "interrupted" if "interrupted" in counts else "done"
    level = "WARNING" if counts["failed"] else "INFO"
    logs.log_event("pass.done", f"{name} {how}: {_words(counts)} in {stopwatch.seconds:.1f} s", level, **counts)
    groups: dict[tuple[Status, str | None, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if reason := outcome.reason or outcome.error:
            groups[outcome.status, outcome.host, reason].append(outcome)
    for (status, host, reason), group in itertools.islice(groups.items(), MOST_GROUPS):
        doubt = f"; {DOUBT}" if status is Status.WOULD_COPY else ""
        where = f" at {host}" if host else ""
        logger.info("{}{}: {}: {}{}: {}", status, where, quantity(len(group), "image"), reason, doubt, _first(group, host))
    if len(groups) > MOST_GROUPS:
        logger.info("and {} more reasons, which report.json has", len(groups) - MOST_GROUPS)
    refusing = {host for _, host, reason in groups if host and ErrorKind.UNAUTHORIZED.value in reason}
    if accounts.file is None and refusing:
        message = "no accounts file was found, and anonymous access is refused: {}; write the account into accounts.json"
        logger.warning(message, ", ".join(sorted(refusing)))
    if interrupted := counts.get("interrupted"):
        message = "interrupted: {} of {} not finished; the next pass continues with them"
        logger.warning(message, interrupted, quantity(len(outcomes), "image"))


def log_merged(report: Report) -> None:
    """Log the summary of the merged report of all shards."""
    counts: dict[str, Any] = {_key(one): cast("Any", report).get(_key(one), 0) for one in _COUNTED}
    level = "WARNING" if report["exit_code"] else "INFO"
    logs.log_event("pass.done", f"all shards done: {_words(counts)}", level, seconds=report["seconds"], **counts)
    for line in (*report.get("missing", ()), *report.get("problems", ())):
        logger.error("{}", line)


def _words(counts: Mapping[str, Any]) -> str:
    """Return `3 copied, 0 skipped, 1 failed`."""
    return ", ".join(f"{counts[_key(one)]} {one}" for one in _COUNTED if one is not Status.WOULD_COPY or counts[_key(one)])


def _first(outcomes: Sequence[Outcome], host: str | None) -> str:
    """Return the first images of `outcomes`, each as its reference at the registry `host`."""
    references = [str(_at_host(outcome.image, host)) for outcome in outcomes[:FIRST]]
    more = [f"and {len(outcomes) - FIRST} more"] if len(outcomes) > FIRST else []
    return ", ".join(references + more)


def _at_host(image: Image, host: str | None) -> Image | Reference:
    references = [one for one in (image.source, image.target) if one.host == host]
    return references[0] if len(references) == 1 else image


def summarize(outcomes: Sequence[Outcome], stopwatch: Stopwatch) -> dict[str, Any]:
    """Return the counts of a pass and its seconds. `interrupted`, if any image was, counts a part of `failed`."""
    counts = Counter(outcome.status for outcome in outcomes)
    interrupted = counts[Status.INTERRUPTED]
    counts[Status.FAILED] += interrupted
    part = {"interrupted": interrupted} if interrupted else {}
    return {_key(status): counts[status] for status in _COUNTED} | part | {"seconds": round(stopwatch.seconds, 3)}


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Return 0 if no image failed, else 1."""
    return int(any(outcome.status in _FAILED for outcome in outcomes))


def quantity(number: int, what: str) -> str:
    """Return `3 images`, or `1 image`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _key(status: Status) -> str:
    return status.value.replace("-", "_")
