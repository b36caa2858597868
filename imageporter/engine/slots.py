"""Slots: how many look-ups, or copies, run at once, shared fairly between registries.

While other images wait or are still to come, one registry holds at most half of the slots, so that a slow one never delays
the others. Untried images come before retries, then the order of the files decides.
"""

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

Hosts = frozenset[str]


class Demand:
    """The images that want a slot or will want one, by the registries they need."""

    def __init__(self, is_resting: Callable[[Hosts], bool]) -> None:
        self._is_resting = is_resting
        self._images: dict[object, Hosts] = {}
        self._counts: Counter[Hosts] = Counter()
        self._emptied = asyncio.Event()

    def add(self, image: object, hosts: Hosts) -> None:
        """Note that `image`, which needs `hosts`, wants a slot or will want one."""
        if image not in self._images:
            self._images[image] = hosts
            self._counts[hosts] += 1
            self._emptied.clear()

    def discard(self, image: object) -> None:
        """Note that `image` has its slot, or needs none."""
        hosts = self._images.pop(image, None)
        if hosts is not None:
            self._counts[hosts] -= 1
        if not self._images:
            self._emptied.set()

    async def wait_until_empty(self, seconds: float) -> None:
        """Wait until no image wants a slot, or will want one, for `seconds` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._emptied.wait()

    def has_others(self, host: str) -> bool:
        """Return whether an image wants a slot that needs neither the registry `host` nor a resting one."""
        return any(count and host not in hosts and not self._is_resting(hosts) for hosts, count in self._counts.items())


class Slots:
    """`width` slots for the images of `demand`."""

    def __init__(self, width: int, demand: Demand) -> None:
        self._width = width
        self._free = width
        self._demand = demand
        self._held: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._waiting: dict[Hosts, list[tuple[tuple[bool, int, int], asyncio.Future[None]]]] = {}

    @asynccontextmanager
    async def hold(self, hosts: Iterable[str], index: int, *, is_retry: bool) -> AsyncIterator[None]:
        """Hold a slot for requests to `hosts`, for the image with this `index` in the files' order."""
        wanted = frozenset(hosts)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        order = (is_retry, index, next(self._numbers))
        heapq.heappush(self._waiting.setdefault(wanted, []), (order, waiter))
        self.grant()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._release(wanted)
            raise
        try:
            yield
        finally:
            self._release(wanted)

    def grant(self) -> None:
        """Grant free slots; to be called when the demand has changed, too."""
        while self._free:
            first: tuple[tuple[bool, int, int], Hosts] | None = None
            for hosts, waiters in list(self._waiting.items()):
                while waiters and waiters[0][1].done():  # cancelled
                    heapq.heappop(waiters)
                if not waiters:
                    del self._waiting[hosts]
                elif (first is None or waiters[0][0] < first[0]) and self._may_hold(hosts):
                    first = waiters[0][0], hosts
            if first is None:
                return
            hosts = first[1]
            _, waiter = heapq.heappop(self._waiting[hosts])
            self._free -= 1
            self._held.update(hosts)
            waiter.set_result(None)

    def _may_hold(self, hosts: Hosts) -> bool:
        """Return whether images that need `hosts` may hold one slot more."""
        half = max(self._width // 2, 1)
        return all(self._held[host] < half or not self._demand.has_others(host) for host in hosts)

    def _release(self, hosts: Hosts) -> None:
        self._free += 1
        self._held.subtract(hosts)
        self.grant()
