"""What one client address may do to the hook: requests per second (HOOK_RATE), unsigned bodies, and log lines."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from loguru import logger
from starlette.exceptions import HTTPException

BURST_SECONDS = 10
# A signature covers the body, so the bodies of clients that may be strangers are read: few at once, to bound the memory.
SMALL_BODY = 1 << 16  # bytes, which GitHub's webhooks rarely exceed
MAX_BODIES = 32
BODY_SECONDS = 2.0
WAIT_SECONDS = 5.0
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
    """Slots for the large bodies of clients that may be strangers. Small ones need none: their memory is bounded anyway."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(MAX_BODIES)

    @asynccontextmanager
    async def slot(self, length: int | None) -> AsyncIterator[None]:
        """Hold a slot for a body of `length` bytes (None: unknown), for BODY_SECONDS at most.

        Raises HTTPException (408, or 503 if no slot becomes free in time).
        """
        if length is not None and length <= SMALL_BODY:
            yield
            return
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            reason = "too many bodies of unknown clients; send it again later"
            raise HTTPException(503, reason, {"Retry-After": "10"}) from None
        try:
            async with asyncio.timeout(BODY_SECONDS):
                yield
        except TimeoutError:
            reason = f"the body did not arrive within {BODY_SECONDS:g} seconds"
            raise HTTPException(408, reason, {"Connection": "close"}) from None
        finally:
            self._slots.release()


class LogLimit:
    """Limits the log lines about rejected requests: LOG_LINES for an address and a status in LOG_SECONDS."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, int], tuple[float, int]] = OrderedDict()  # the period's start, its requests

    def allow(self, address: str, status: int) -> bool:
        """Return whether the next response to `address` with `status` is logged. The first that is not is announced."""
        now = time.monotonic()
        started, count = self._counts.pop((address, status), (now, 0))
        if now - started > LOG_SECONDS:
            if count > LOG_LINES:
                logger.warning("hook: {} more requests of {} were rejected with {}", count - LOG_LINES, address, status)
            started, count = now, 0
        self._counts[address, status] = (started, count + 1)
        if len(self._counts) > MAX_ADDRESSES:
            self._counts.popitem(last=False)
        if count == LOG_LINES:
            message = "hook: further requests of {} that are rejected with {} are not logged for {:g} s"
            logger.warning(message, address, status, LOG_SECONDS)
        return count < LOG_LINES
