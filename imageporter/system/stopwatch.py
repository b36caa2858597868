"""Measuring time."""

import time
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(slots=True)
class Stopwatch:
    """When something began: `started` on the wall clock, for people, and a monotonic clock for durations."""

    started: datetime = field(default_factory=lambda: datetime.now().astimezone())
    _ticks: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._ticks
