"""A running program: what is kept of its output, and when it is ended."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

import pytest

from imageporter.registry import crane_process
from imageporter.registry.crane_process import Call, Limit, Output, Tail, TimeLimits, bound, end

MIB = 1 << 20


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, signal.Signals]]:
    """The signals that were sent, each with the process."""
    sent: list[tuple[int, signal.Signals]] = []
    monkeypatch.setattr(crane_process, "signal_group", lambda pid, number: sent.append((pid, number)))
    return sent


def test_each_kind_of_call_has_its_limits() -> None:
    limits = TimeLimits(copy=3600, probe=60.5, stall=120)
    probe, listing, copy = limits.of_calls()
    assert probe == Limit(60.5, "60.5 seconds (PROBE_TIMEOUT)", None, 180 * MIB)
    assert listing == Limit(60.5, "60.5 seconds (PROBE_TIMEOUT)", None, 580 * MIB)
    assert copy == Limit(3600, "3600 seconds (COPY_TIMEOUT)", 120, 180 * MIB)
    assert limits.of_cosign() == Limit(60.5, "60.5 seconds (PROBE_TIMEOUT)", None, None)


def test_output_is_kept_up_to_a_limit_that_ends_the_process_once() -> None:
    overflows: list[int] = []
    output = Output(5, lambda: overflows.append(1))
    for part in ("ab", "cde"):
        output.append(part)
    assert (str(output), output.overflowed, overflows) == ("abcde", False, [])
    for part in ("f", "g"):
        output.append(part)
    assert (str(output), output.overflowed, overflows) == ("abcde", True, [1])
    output = Output(5, lambda: overflows.append(2))
    output.append("abcdefg")
    assert (str(output), overflows) == ("abcde", [1, 2])


def test_the_tail_of_an_output_is_its_last_parts() -> None:
    tail = Tail(6)
    for part in ("ab", "cd", "ef"):
        tail.append(part)
    assert str(tail) == "abcdef"
    tail.append("g")
    assert str(tail) == "cdefg"
    tail.append("0123456789")
    assert str(tail) == "456789"
    for part in "abcdefgh":
        tail.append(part)
    assert str(tail) == "cdefgh"


def test_a_call_that_does_not_run_yet_must_end_when_it_does(signals: list[tuple[int, signal.Signals]]) -> None:
    call = Call()
    assert (call.pid, call.must_end) == (0, False)
    call.signal(signal.SIGTERM)
    assert (call.must_end, signals) == (True, [])
    call.pid = 7
    call.signal(signal.SIGKILL)
    assert signals == [(7, signal.SIGKILL)]


def bounded(limit: Limit, seconds: float | None, pid: int = 7) -> tuple[str | None, float]:
    """Return what becomes of a process that ends after some seconds, or never, and the time that it takes."""

    async def run() -> tuple[str | None, float]:
        process: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call = Call()
        call.pid = pid
        began = asyncio.get_running_loop().time()
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, process.set_result, None)
        return await bound(process, call, limit), asyncio.get_running_loop().time() - began

    return asyncio.run(run())


def test_a_process_that_ends_is_left_alone(signals: list[tuple[int, signal.Signals]]) -> None:
    assert bounded(Limit(60, "limit"), 0.05)[0] is None
    assert bounded(Limit(60, "limit", stall=60), 0.05)[0] is None
    assert signals == []


def test_a_process_is_killed_at_its_limit(signals: list[tuple[int, signal.Signals]]) -> None:
    for limit in (Limit(0.3, "0.3 seconds (X)"), Limit(0.3, "0.3 seconds (X)", stall=60)):
        reason, seconds = bounded(limit, None)
        assert reason == "no end after 0.3 seconds (X)"
        assert 0.3 <= seconds < 1
    assert signals == 2 * [(7, signal.SIGKILL)]


def test_a_process_that_transfers_nothing_is_killed(
    monkeypatch: pytest.MonkeyPatch, signals: list[tuple[int, signal.Signals]]
) -> None:
    monkeypatch.setattr(crane_process, "bytes_transferred", lambda _: 100)
    reason, seconds = bounded(Limit(60, "limit", stall=0.4), None)
    assert reason == "no byte read or written for 0.4 seconds (STALL_TIMEOUT)"
    assert 0.4 <= seconds < 1.5
    assert signals == [(7, signal.SIGKILL)]


@pytest.mark.parametrize("transfer", [lambda counter: counter, lambda _: None])
def test_a_process_that_transfers_something_or_cannot_be_measured_goes_on(
    monkeypatch: pytest.MonkeyPatch, signals: list[tuple[int, signal.Signals]], transfer: Callable[[int], int | None]
) -> None:
    measured: list[int] = []

    def measure(pid: int) -> int | None:
        measured.append(pid)
        return transfer(len(measured))

    monkeypatch.setattr(crane_process, "bytes_transferred", measure)
    assert bounded(Limit(60, "limit", stall=0.2), 0.8)[0] is None
    assert set(measured) == {7}
    assert 8 < len(measured) < 40  # eight times in a STALL_TIMEOUT
    measured.clear()
    assert bounded(Limit(60, "limit", stall=0.2), 0.8, pid=0)[0] is None  # it does not run yet
    assert measured == []
    assert signals == []


def ended(on_signal: Callable[[asyncio.Future[Any], signal.Signals], None], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the signals that a cancelled process receives."""
    sent: list[str] = []

    async def run() -> None:
        started: Future[None] = Future()
        started.set_running_or_notify_cancel()
        process: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def send(_: int, number: signal.Signals) -> None:
            sent.append(number.name)
            on_signal(process, number)

        monkeypatch.setattr(crane_process, "signal_group", send)
        monkeypatch.setattr(crane_process, "KILL_AFTER", 0.1)
        call = Call()
        call.pid = 7
        await wait_for(end(started, process, call))
        assert process.done()

    asyncio.run(run())
    return sent


def end_later_when_killed(process: asyncio.Future[Any], number: signal.Signals) -> None:
    if number is signal.SIGKILL:
        process.get_loop().call_later(0.05, process.set_result, None)


async def wait_for(awaitable: Awaitable[None]) -> None:
    async with asyncio.timeout(5):
        await awaitable


def test_a_cancelled_process_is_terminated_and_killed_if_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(lambda process, _: process.set_result(None), monkeypatch) == ["SIGTERM"]
    assert ended(end_later_when_killed, monkeypatch) == [
        "SIGTERM",
        "SIGKILL",
    ]


def test_a_cancelled_process_that_no_thread_has_started_never_is(signals: list[tuple[int, signal.Signals]]) -> None:
    async def run() -> None:
        started: Future[None] = Future()
        call = Call()
        call.pid = 7
        await wait_for(end(started, asyncio.get_running_loop().create_future(), call))
        assert started.cancelled()

    asyncio.run(run())
    assert signals == []
