"""How an image ends."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from imageporter.model.image import Image


class Status(StrEnum):
    """An image ends as exactly one of these."""

    COPIED = "copied"
    SKIPPED = "skipped"
    FAILED = "failed"
    WOULD_COPY = "would-copy"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one image ended: after how many attempts and seconds, and with which digest or error.

    A `warning` is why a dry run doubts that the image would be copied. `host` is the registry at fault, if it is known, and
    `reason` is the error or the warning without what only concerns this image.
    """

    image: Image
    status: Status
    digest: str | None = None
    error: str | None = None
    attempts: int = 0
    seconds: float = 0.0
    warning: str | None = None
    host: str | None = None
    reason: str | None = None

    def row(self) -> dict[str, Any]:
        """Return the keys that log lines and report.json share."""
        # `error` keeps the value that interrupted images had before there was a status for them.
        error = str(self.status) if self.status is Status.INTERRUPTED else self.error
        return {
            "source": str(self.image.source),
            "target": str(self.image.target),
            "outcome": str(self.status),
            "digest": self.digest,
            "error": error,
            "attempt": self.attempts,
            "seconds": round(self.seconds, 3),
        } | ({"warning": self.warning} if self.warning else {})
