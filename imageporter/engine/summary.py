"""The outcomes of a pass -> log lines, the summary, report.json and the exit code."""

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from loguru import logger

from imageporter.system import logs
from imageporter.model.rule import Image, Rule
from imageporter.config.settings import Settings

REPORT = "report.json"
QUEUE_REPORT = "report-queue.json"
INTERRUPTED = "interrupted"


class Word(StrEnum):
    """How an image ends, as exactly one of these."""

    COPIED = "copied"
    SKIPPED = "skipped"
    FAILED = "failed"
    WOULD_COPY = "would-copy"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one image ended: after how many attempts and seconds, with which digest or error."""

    image: Image
    word: Word
    digest: str | None = None
    error: str | None = None
    attempts: int = 0
    seconds: float = 0.0

    def row(self) -> dict[str, Any]:
        """The keys that log lines and report.json share."""
        return {
            "source": str(self.image.source),
            "target": str(self.image.target),
            "outcome": str(self.word),
            "digest": self.digest,
            "error": self.error,
            "attempt": self.attempts,
            "seconds": round(self.seconds, 3),
        }


@dataclass(slots=True)
class Clock:
    """When something began: for people, and for taking the time."""

    at: datetime = field(default_factory=lambda: datetime.now().astimezone())
    ticks: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self.ticks


def pass_start(rules: Sequence[Rule], settings: Settings) -> Clock:
    """Log that a pass begins, over how many images as far as that is known; gives its clock."""
    dry = " (DRY_RUN: nothing will be copied)" if settings.dry_run else ""
    images = len({(image.source, image.target) for rule in rules if not rule.open for image in rule.images()})
    unlisted = sum(rule.open for rule in rules)
    parts = [_counted(images, "image")] if images or not unlisted else []
    parts += [f"{_counted(unlisted, 'rule')} whose tags are to be listed"] if unlisted else []
    words = " and ".join(parts)
    logs.event("pass.start", f"{_name(settings)} of {words}{dry}", images=images, rules=unlisted or None)
    return Clock()


def _name(settings: Settings) -> str:
    return "queue run" if settings.queue else "pass"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def image_done(outcome: Outcome) -> None:
    """Log how an image ended."""
    what = f"{outcome.word:<10} {outcome.image.source} -> {outcome.image.target}"
    if outcome.error is not None:
        logs.event("image.done", f"{what}: {outcome.error}", "ERROR", **outcome.row())
    else:
        short = (outcome.digest or "")[:19]
        logs.event("image.done", f"{what} ({short}, {outcome.seconds:.2f} s)", **outcome.row())


def summary(outcomes: Sequence[Outcome], clock: Clock) -> dict[str, Any]:
    """The counts of a pass and its seconds; `interrupted` is how many of the failed were, where any was."""
    counts = Counter(outcome.word for outcome in outcomes)
    interrupted = sum(outcome.error == INTERRUPTED for outcome in outcomes)
    also = {"interrupted": interrupted} if interrupted else {}
    return {_key(word): counts[word] for word in Word} | also | {"seconds": round(clock.seconds, 3)}


def pass_done(outcomes: Sequence[Outcome], clock: Clock, settings: Settings) -> None:
    """Log the summary: a line of counts, then a line for each failure; one for all that were interrupted."""
    counts = summary(outcomes, clock)
    words = ", ".join(f"{counts[_key(word)]} {word}" for word in Word if word is not Word.WOULD_COPY or counts[_key(word)])
    how = "interrupted" if "interrupted" in counts else "done"
    level = "WARNING" if counts["failed"] else "INFO"
    logs.event("pass.done", f"{_name(settings)} {how}: {words} in {clock.seconds:.1f} s", level, **counts)
    failed = [outcome for outcome in outcomes if outcome.word is Word.FAILED]
    for outcome in failed:
        if outcome.error != INTERRUPTED:
            logger.error("failed: {} -> {}: {}", outcome.image.source, outcome.image.target, outcome.error)
    if interrupted := counts.get("interrupted"):
        words = "interrupted: {} of the {} images were not finished; the next pass takes them up"
        logger.warning(words, interrupted, len(outcomes))


def write(path: Path, outcomes: Sequence[Outcome], clock: Clock, exit_code: int) -> None:
    """Put the pass into the file `path`: the old one, or the new one whole, whenever the process dies."""
    content = {
        "started": clock.at.isoformat(timespec="seconds"),
        "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
        "exit_code": exit_code,
        **summary(outcomes, clock),
        "images": [outcome.row() for outcome in outcomes],
    }
    new = path.with_name(f".{path.name}.new")
    try:
        with open(new, "w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        logger.error("{} cannot be written: {}", path, error.strerror)
        new.unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any] | None:
    """What `write` has put into the file `path`, without its images; None where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {key: value for key, value in content.items() if key != "images"}
    except (OSError, ValueError, AttributeError):
        return None


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0: all well; 1: at least one image failed."""
    return int(any(outcome.word is Word.FAILED for outcome in outcomes))


def _key(word: Word) -> str:
    return word.value.replace("-", "_")
