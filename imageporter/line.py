"""Jobs, and the line in which they wait for a worker."""

import heapq
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from imageporter.report import Clock
from imageporter.rules import Image


@dataclass(eq=False, slots=True)
class Job:
    """A piece of work that a worker takes up, again until it succeeds, cannot get better, or has had all its attempts.

    `work` may put further jobs; `fail` is told why it is no use. `index` is its place in the files' order, `hosts`
    are the registries that it asks, `images` those whose fate hangs on it, and `clock` counts since its first attempt.
    """

    index: int
    hosts: frozenset[str]
    images: tuple[Image, ...]
    work: Callable[["Job"], None]
    fail: Callable[["Job", str], None]
    attempts: int = 0
    clock: Clock = field(default_factory=Clock)


class Line:
    """Jobs that wait for a worker: the files' order, among those that need not wait any longer."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ready: list[tuple[int, int, Job]] = []
        self._later: list[tuple[float, int, Job]] = []
        self._count = 0
        self._closed = False
        self._hurried = False

    def put(self, job: Job, due: float = 0) -> None:
        """Add `job`, which no worker gets before `due` (monotonic seconds)."""
        with self._changed:
            self._count += 1  # among equals: as they came
            if due and not self._hurried:
                heapq.heappush(self._later, (due, self._count, job))
            else:
                heapq.heappush(self._ready, (job.index, self._count, job))
            self._changed.notify()

    def get(self) -> Job | None:
        """The next job, as soon as there is one; None when the line is closed."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                while self._later and (self._hurried or self._later[0][0] <= now):
                    _, count, job = heapq.heappop(self._later)
                    heapq.heappush(self._ready, (job.index, count, job))
                if self._ready:
                    job = heapq.heappop(self._ready)[2]
                    self._changed.notify()  # several may have become due at once
                    return job
                self._changed.wait(self._later[0][0] - now if self._later else None)
        return None

    def hurry(self) -> None:
        """Let no job wait any longer for its time."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def close(self) -> None:
        """Send the workers home."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
