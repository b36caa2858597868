"""What one client address may do to the hook: requests per second (HOOK_RATE), unsigned bodies, and log lines."""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from loguru import logger
from starlette.exceptions import HTTPException

BURST_SECONDS = 10
# A signature covers the body, so the bodies of clients that may be strangers are read: few at once, to bound the memory.
MAX_BODIES = 32
MAX_BODIES_PER_ADDRESS = 4
BODY_SECONDS = 2.0
LOG_LINES, LOG_SECONDS = 20, 60.0
MAX_ADDRESSES = 10_000  # the one that was idle longest is forgotten


class TokenBucket:
    """A token bucket per address: `rate` requests per second, and BURST_SECONDS' worth of them at once. 0 is unlimited."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when they were counted

    def allow(self, address: str) -> bool:
        """Take a token of `address`, and return whether there was one."""
        if not self._rate:
            return True
        now, size = time.monotonic(), float(self._rate * BURST_SECONDS)
        tokens, counted = self._buckets.pop(address, (size, now))
        tokens = min(size, tokens + (now - counted) * self._rate)
        is_allowed = tokens >= 1
        self._buckets[address] = (tokens - 1 if is_allowed else tokens, now)
        if len(self._buckets) > MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        return is_allowed


class BodyLimit:
    """Slots for the bodies of clients that may be strangers. A stranger that is slow, or takes many, delays no one else."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    @asynccontextmanager
    async def slot(self, address: str) -> AsyncIterator[None]:
        """Hold a slot for BODY_SECONDS at most. Raises HTTPException (408, or 503 if none is free)."""
        if self._held.total() >= MAX_BODIES or self._held[address] >= MAX_BODIES_PER_ADDRESS:
            raise HTTPException(503, "too many bodies of unknown clients; send it again later", {"Retry-After": "10"})
        self._held[address] += 1
        try:
            async with asyncio.timeout(BODY_SECONDS):
                yield
        except TimeoutError:
            reason = f"the body did not arrive within {BODY_SECONDS:g} seconds"
            raise HTTPException(408, reason, {"Connection": "close"}) from None
        finally:
            self._held[address] -= 1
            self._held += Counter()  # forget those with none


class LogLimit:
    """Limits the log lines about rejected requests: LOG_LINES for an address in LOG_SECONDS."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()  # the start of the period, and its requests

    def allow(self, address: str) -> bool:
        """Return whether the next rejected request of `address` is logged. The first that is not is announced."""
        now = time.monotonic()
        started, count = self._counts.pop(address, (now, 0))
        if now - started > LOG_SECONDS:
            if count > LOG_LINES:
                logger.warning("hook: {} more requests of {} were rejected", count - LOG_LINES, address)
            started, count = now, 0
        self._counts[address] = (started, count + 1)
        if len(self._counts) > MAX_ADDRESSES:
            self._counts.popitem(last=False)
        if count == LOG_LINES:
            logger.warning("hook: further rejected requests of {} are not logged for {:g} s", address, LOG_SECONDS)
        return count < LOG_LINES
