"""Back-off: a registry that is rate limited or unavailable rests for a while, longer each time.

While a registry rests, every image that needs it waits, and the others continue. After a rest one image probes the
registry: if that succeeds, it is open to all again. After the last rest, its remaining images fail at once.

A failed copy does not always say which of its two registries is at fault: an upload stalls, or a third host with the blobs
is down. Such a failure counts against the pair, so that neither registry suffers from the other. The pair has a back-off
of its own, under the name that `pair_of` gives it.
"""

import asyncio
import random
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from imageporter.registry.errors import ErrorKind, RegistryError
from imageporter.system import logs

SHORTEST = 1.0  # seconds
LONGEST = 300.0  # of a registry that limits its rate
LONGEST_OUTAGE = 30.0  # it may be back at any moment, and one that fails now and then must not stretch a pass to hours
REMEMBERED = 60.0  # for so long after its last rest, another rest is longer than the last one
JITTER = 0.25  # several passes must not return at the same moment
OUTAGES_IN_A_ROW = 3


class Operation(Enum):
    """What a request was for. A registry may answer look-ups while its uploads stall."""

    LOOKUP = "look-up"
    COPY = "copy"


def pair_of(source: str, target: str) -> str:
    """Return the name of the pair of two registries."""
    return f"{source} -> {target}"


class UnavailableError(Exception):
    """The pass has given up the registry `host`. The text is the reason."""

    def __init__(self, host: str, reason: str) -> None:
        self.host = host
        super().__init__(reason)


@dataclass(slots=True)
class _Streak:
    """Consecutive failures of one operation, and the rests since its last success."""

    failures: int = 0
    rests: int = 0


class Backoff:
    """The state of one registry: open, resting until a time, or given up (`give_up_reason`).

    A rest lasts `first` seconds, twice the last one, or the registry's `Retry-After`; `most` is how many follow each other.
    `rests` counts all of them.
    """

    def __init__(self, host: str, first: float, most: int) -> None:
        self.host = host
        self.rests = 0
        self.is_resting = False
        self.give_up_reason: str | None = None
        self.prober: object | None = None
        self.changed = asyncio.Event()
        self._first = max(first, SHORTEST)
        self._most = most
        self._until = 0.0
        self._last_rest = 0.0
        self._reopened = 0.0
        self._streaks = {operation: _Streak() for operation in Operation}

    @property
    def seconds_left(self) -> float:
        """Seconds until the end of the rest."""
        return max(self._until - time.monotonic(), 0)

    @property
    def is_last_probe(self) -> bool:
        """Whether the registry is given up if it fails once more."""
        return self.is_resting and any(streak.rests >= self._most for streak in self._streaks.values())

    def record_success(self, operation: Operation, prober: object) -> None:
        """The registry has answered: open it to all.

        A success during a rest only counts if it is the probe's, like a failure.
        """
        if self.is_resting and self.prober is not prober:
            return
        self._streaks[operation] = _Streak()
        if self.is_resting:
            self._reopened = time.monotonic()
            self.is_resting = False
            self._notify()

    def is_closed_to(self, image: object) -> bool:
        """Return whether `image` must wait: the rest is not over, or another image probes."""
        return self.is_resting and (self.seconds_left > 0 or self.prober not in {None, image})

    def record_failure(self, error: RegistryError, operation: Operation, prober: object) -> None:
        """The registry is rate limited (429) or unavailable: let it rest, or give it up.

        A failure during a rest only counts if it is the probe's: other requests had been sent before the rest began.
        """
        if self.give_up_reason is not None or (self.is_resting and self.prober is not prober):
            return
        streak = self._streaks[operation]
        streak.failures += 1
        if error.kind is not ErrorKind.RATE_LIMITED and not self.is_resting and streak.failures < OUTAGES_IN_A_ROW:
            return
        streak.rests += 1
        if streak.rests > self._most:
            after = "a pause" if self._most == 1 else f"{self._most} pauses"
            self.give_up_reason = f"{error} (and again after {after})"
            self.is_resting = False
            self._notify()
            return
        seconds = self._rest_seconds(error)
        self.rests += 1
        self.is_resting = True
        self._until = time.monotonic() + seconds
        reason = "responds with 429" if error.kind is ErrorKind.RATE_LIMITED else "is unavailable"
        logs.log_event(
            "registry.paused",
            f"{self.host} {reason}: backing off for {seconds:.1f} s, with every image that needs it",
            "WARNING",
            registry=self.host,
            seconds=round(seconds, 3),
            error=str(error),
        )

    def release(self, prober: object) -> None:
        """Let another image probe the registry, if `prober` was the one."""
        if self.prober is prober:
            self.prober = None
            self._notify()

    def _notify(self) -> None:
        """Wake everything that waits for this registry."""
        self.changed.set()
        self.changed = asyncio.Event()

    def _rest_seconds(self, error: RegistryError) -> float:
        """Return the seconds of the next rest: the registry's own wish, or twice the last rest with jitter."""
        if error.retry_after is not None:
            return min(max(error.retry_after, SHORTEST), LONGEST)
        is_longer = self._last_rest and (self.is_resting or time.monotonic() - self._reopened < REMEMBERED)
        seconds = 2 * self._last_rest if is_longer else self._first
        longest = LONGEST if error.kind is ErrorKind.RATE_LIMITED else max(LONGEST_OUTAGE, self._first)
        self._last_rest = min(seconds, longest) * random.uniform(1, 1 + JITTER)  # noqa: S311 (no secret)
        return self._last_rest


class Backoffs:
    """The back-off of every registry in a pass."""

    def __init__(self, retry_delay_time: float, retries: int) -> None:
        self._first = retry_delay_time
        self._most = max(retries, 1)
        self._by_host: dict[str, Backoff] = {}

    @property
    def rests(self) -> int:
        """How many back-offs there were, of all registries."""
        return sum(one.rests for one in self._by_host.values())

    def of(self, host: str) -> Backoff:
        """Return the back-off of the registry `host`."""
        if host not in self._by_host:
            self._by_host[host] = Backoff(host, self._first, self._most)
        return self._by_host[host]

    def is_resting(self, hosts: Iterable[str]) -> bool:
        """Return whether a registry among `hosts` rests, or is given up."""
        known = self._by_host
        return any(known[host].is_resting or known[host].give_up_reason for host in hosts if host in known)

    def is_last_probe(self, hosts: Iterable[str]) -> bool:
        """Return whether a registry among `hosts` is given up if it fails once more."""
        return any(self.of(host).is_last_probe for host in hosts)

    def begin(self, hosts: Iterable[str], image: object) -> bool:
        """Return whether `image` may send a request to `hosts` now. If a rest is over, it becomes the one that probes.

        It must call `release` after its attempt.
        """
        backoffs = [self.of(host) for host in hosts]
        if any(one.give_up_reason or one.is_closed_to(image) for one in backoffs):
            return False
        for one in backoffs:
            if one.is_resting:
                one.prober = image
        return True

    async def wait(self, hosts: Iterable[str], image: object) -> None:
        """Wait until `begin` may succeed. Raises UnavailableError if one of `hosts` is given up."""
        backoffs = [self.of(host) for host in sorted(hosts)]
        while True:
            for one in backoffs:
                if one.give_up_reason is not None:
                    raise UnavailableError(one.host, one.give_up_reason)
            closed = next((one for one in backoffs if one.is_closed_to(image)), None)
            if closed is None:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(closed.seconds_left or None):
                    await closed.changed.wait()

    def release(self, hosts: Iterable[str], image: object) -> None:
        """Let another image probe `hosts`."""
        for host in hosts:
            self.of(host).release(image)
