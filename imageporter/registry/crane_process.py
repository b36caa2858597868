"""A running crane: bounded in time, and ended, by coroutines, while a thread waits for it."""

import asyncio
import signal
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from imageporter.system.processes import bytes_transferred, signal_group

KILL_AFTER = 3  # seconds between SIGTERM and SIGKILL
STALL_CHECKS = 8  # per STALL_TIMEOUT
GO_ARENA = 80 << 20  # bytes of address space that a program in Go maps, and does not use
CALL_MEMORY = 100 << 20
LISTING_MEMORY = 500 << 20  # a page of a million tags


@dataclass(frozen=True)
class Limit:
    """A call is killed after `seconds`, and an error names the limit by `text`: `60 seconds (PROBE_TIMEOUT)`.

    It is also killed if it reads and writes nothing for `stall` seconds. It may use `memory` (bytes); None is unlimited.
    """

    seconds: float
    text: str
    stall: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class TimeLimits:
    """Seconds after which crane is killed: a copy, any other call, and a copy that transfers nothing."""

    copy: float
    probe: float
    stall: float

    def of_calls(self) -> tuple[Limit, Limit, Limit]:
        """Return the limits of a look-up or login, of a list of tags, and of a copy, with those of their memory.

        All of them need 15 MB, whatever the size of the image. A registry may send a manifest of 100 MiB, which crane reads.
        """
        probe = Limit(self.probe, f"{self.probe:g} seconds (PROBE_TIMEOUT)", memory=GO_ARENA + CALL_MEMORY)
        copy = Limit(self.copy, f"{self.copy:g} seconds (COPY_TIMEOUT)", self.stall, GO_ARENA + CALL_MEMORY)
        return probe, replace(probe, memory=GO_ARENA + LISTING_MEMORY), copy

    def of_cosign(self) -> Limit:
        """Return the limit of a verification, which sends several requests."""
        return Limit(self.probe, f"{self.probe:g} seconds (PROBE_TIMEOUT)")


class Call:
    """A crane process: started by a thread, bounded and killed by the event loop. `pid` is 0 while it does not run."""

    def __init__(self) -> None:
        self.pid = 0
        self.must_end = False

    def signal(self, number: signal.Signals) -> None:
        """Send `number` to the process group; if it does not run yet, its thread will kill it."""
        self.must_end = True
        if self.pid:
            signal_group(self.pid, number)


class Output:
    """What a process writes to one of its streams, up to `limit` characters. `on_overflow` is called when there is more."""

    def __init__(self, limit: int, on_overflow: Callable[[], None]) -> None:
        self._parts: list[str] = []
        self._left = limit
        self._on_overflow = on_overflow
        self.overflowed = False

    def append(self, part: str) -> None:
        """Keep `part`, or as much of it as there is room for."""
        self._parts.append(part[: self._left])
        self._left -= len(self._parts[-1])
        if len(part) > len(self._parts[-1]) and not self.overflowed:
            self.overflowed = True
            self._on_overflow()

    def __str__(self) -> str:
        return "".join(self._parts)


class Tail:
    """The last `limit` characters, about, of what a process writes to one of its streams."""

    def __init__(self, limit: int) -> None:
        self._parts: deque[str] = deque()
        self._length = 0
        self._limit = limit

    def append(self, part: str) -> None:
        """Keep `part`, and forget the oldest parts."""
        self._parts.append(part[-self._limit :])
        self._length += len(self._parts[-1])
        while self._length > self._limit:
            self._length -= len(self._parts.popleft())

    def __str__(self) -> str:
        return "".join(self._parts)


async def bound(process: "asyncio.Future[Any]", call: Call, limit: Limit) -> str | None:
    """Wait for `process`. Kill it at the limit, and return what went wrong; None if it ended by itself."""
    deadline = time.monotonic() + limit.seconds
    interval = limit.stall / STALL_CHECKS if limit.stall else limit.seconds
    last, since = None, time.monotonic()
    while True:
        await asyncio.wait({process}, timeout=min(deadline - time.monotonic(), interval))
        if process.done():
            return None
        now = time.monotonic()
        if now >= deadline:
            call.signal(signal.SIGKILL)
            return f"no end after {limit.text}"
        transferred = bytes_transferred(call.pid) if limit.stall and call.pid else None
        if transferred is None or transferred != last:
            last, since = transferred, now
        elif limit.stall and now - since >= limit.stall:
            call.signal(signal.SIGKILL)
            return f"no byte read or written for {limit.stall:g} seconds (STALL_TIMEOUT)"


async def end(started: "Future[Any]", process: "asyncio.Future[Any]", call: Call) -> None:
    """Terminate a process whose call was cancelled; kill it KILL_AFTER seconds later."""
    if started.cancel():  # no thread was free to start it
        return
    call.signal(signal.SIGTERM)
    _, pending = await asyncio.wait({process}, timeout=KILL_AFTER)
    if pending:
        call.signal(signal.SIGKILL)
        await asyncio.wait({process})
