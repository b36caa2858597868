"""The rate limit of the hook, per client address (HOOK_RATE)."""

import time
from collections import OrderedDict

BURST_SECONDS = 10
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
