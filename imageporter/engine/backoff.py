"""Registries that answered 429: left alone for a while, by everything that needs them; the rest goes on.

After a pause one job alone asks: its answer opens the registry to all, and another 429 makes a longer pause.
"""

import random
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from imageporter.system import logs
from imageporter.registry.errors import CraneError
from imageporter.line import Job, Line
from imageporter.config.settings import Settings

SHORTEST = 1.0
LONGEST = 300.0
FORGOTTEN = 60.0  # so long after its last pause, a registry's first pause is a short one again
JITTER = 0.25  # several passes do not come back at the same moment


@dataclass(eq=False, slots=True)
class _Pause:
    """A registry that is left alone `until` then (monotonic seconds); `trial` is the job that asks first."""

    until: float
    trial: Job
    refusals: int = 0
    parked: list[tuple[Job, Line]] = field(default_factory=list)


def _counted(pauses: int) -> str:
    return "a pause" if pauses == 1 else f"{pauses} pauses"


class Pauses:
    """The pauses of a pass, by registry."""

    def __init__(self, settings: Settings) -> None:
        self._first = max(settings.retry_delay_time, SHORTEST)
        self._most = max(settings.retries, 1)
        self._lock = threading.Lock()
        self._paused: dict[str, _Pause] = {}
        self._last: dict[str, tuple[float, float]] = {}
        self._given_up: dict[str, str] = {}
        self._ended = False

    def admit(self, job: Job, line: Line) -> bool:
        """Whether `job` may ask its registries now; else it is kept, and comes back to `line` by itself."""
        with self._lock:
            paused = [self._paused[host] for host in sorted(job.hosts & self._paused.keys())]
            if not paused or self._ended:
                return True
            if all(pause.trial is not job for pause in paused):
                paused[0].parked.append((job, line))
                return False
            # A trial waits for the end of another pause only, not for its trial: they might wait for each other.
            until = max(pause.until for pause in paused)
        if until <= time.monotonic():
            return True
        line.put(job, until)
        return False

    def refused(self, job: Job, line: Line, host: str, error: CraneError) -> None:
        """The registry `host` answered `job` 429: it is kept, and comes back to `line` by itself."""
        with self._lock:
            if self._ended or host in self._given_up:  # `hopeless`, or the end, tells it
                line.put(job)
                return
            pause = self._paused.setdefault(host, _Pause(0, job))
            if pause.trial is not job:
                pause.parked.append((job, line))  # it had asked before the pause began
                return
            pause.refusals += 1
            if pause.refusals > self._most:
                self._given_up[host] = f"{error} (and again after {_counted(self._most)})"
                self._open(host)
                line.put(job)
                return
            seconds = self._longer(host)
            pause.until = time.monotonic() + seconds
            self._last[host] = (seconds, pause.until)
        words = f"{host} answers 429: it is left alone for {seconds:.1f} s, with every image that needs it"
        logs.event("registry.paused", words, "WARNING", registry=host, seconds=round(seconds, 3), error=str(error))
        line.put(job, pause.until)

    def hopeless(self, job: Job) -> str | None:
        """Why it is no use to try `job`: a registry of its answered 429 after all its pauses, too."""
        return next((self._given_up[host] for host in sorted(job.hosts) if host in self._given_up), None)

    def answered(self, job: Job, hosts: Iterable[str]) -> None:
        """`hosts` did not answer `job` 429: where it was the one to try that, they are open to all again."""
        with self._lock:
            for host in hosts:
                if host in self._paused and self._paused[host].trial is job:
                    self._open(host)

    def end(self) -> None:
        """Keep no job any longer."""
        with self._lock:
            self._ended = True
            for host in list(self._paused):
                self._open(host)

    def _open(self, host: str) -> None:
        for job, line in self._paused.pop(host).parked:
            line.put(job)
        if host in self._last:
            self._last[host] = (self._last[host][0], time.monotonic())

    def _longer(self, host: str) -> float:
        """The seconds of the next pause: twice the last one's, unless the registry has answered for a while."""
        last, opened = self._last.get(host, (0.0, 0.0))
        again = self._paused[host].refusals > 1 or time.monotonic() - opened < FORGOTTEN
        seconds = 2 * last if last and again else self._first
        return min(seconds, LONGEST) * random.uniform(1, 1 + JITTER)  # noqa: S311 (no secret)
