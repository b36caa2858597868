"""Feeding hostile input to a part of ImagePorter, and judging what comes out: what the targets of `fuzz` share."""

import re
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
from campaign import Campaign, Table
from hostile_input import CANARY
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from imageporter.system.errors import UserError

ROUND = 2500  # inputs of one seed: hypothesis remembers all of them
MOST_FINDINGS = 5  # of one target
SECONDS = 1.0  # of processor time, which an input may take: machines are shared
FOREVER = 10  # times as long, after which the input is interrupted
LONGEST_SHOWN = 300
FORGING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class BrokenPromiseError(Exception):
    """An input was handled otherwise than promised. The text says how, and is the same for equal defects."""


class Target(NamedTuple):
    """What is fed: inputs of `strategy` to `handle`, so many in the long form and in the short form of the campaign.

    `handle` raises what must not happen. If `shrinks`, a failing input is made small, which takes hundreds of attempts.
    """

    name: str
    strategy: st.SearchStrategy[Any]
    handle: Callable[[Any], None]
    long: int
    short: int
    seconds: float = SECONDS
    shrinks: bool = True


class Log:
    """A sink of loguru that keeps the messages for one input."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def __call__(self, message: Any) -> None:
        self.messages.append(message.record["message"])

    def check(self) -> None:
        """Raise BrokenPromiseError if a message could forge a line, shows a password, or reports a bug."""
        check_messages(self.messages)
        for message in self.messages:
            expect("this is a bug" not in message, f"the log says: {message}")


def expect(holds: object, promise: str) -> None:
    """Raise BrokenPromiseError unless the promise `holds`."""
    if not holds:
        raise BrokenPromiseError(promise)


def check_messages(messages: Iterable[str], canary: str = CANARY) -> None:
    """Raise BrokenPromiseError if one of `messages` could forge a line of a log, or shows the password."""
    for message in messages:
        expect(not FORGING.search(message), "a message has a line break or a control character")
        expect(canary not in message, "a message shows a password")


@dataclass
class Feeder:
    """Feeds targets, and adds a row to `table` for each."""

    campaign: Campaign
    table: Table
    log: Log = field(default_factory=Log)
    total: int = 0

    def feed(self, target: Target) -> None:
        """Feed a target. A defect that was found already is not reported again, and does not stop the rest of the inputs."""
        wanted = self.campaign.pick(long=target.long, short=target.short)
        known: set[str] = set()
        inputs = rounds = 0
        failing: list[Any] = []

        def test(value: Any) -> None:
            nonlocal inputs
            inputs += 1
            try:
                self._handle(target, value)
            except Exception as error:
                if origin(error) not in known:
                    failing.append(value)
                    raise

        began = time.monotonic()
        while inputs < wanted and len(known) < MOST_FINDINGS:
            rounds += 1
            try:
                run_round(test, target, min(ROUND, wanted - inputs), f"{self.campaign.seed}/{target.name}/{rounds}")
            except Exception as error:
                if not failing:  # the strategy failed, and not the target
                    raise
                known.add(origin(error))
                smallest = failing.pop()
                failing.clear()
                self.table.check(holds=False, finding=f"{target.name}: {summary(error)}; the input: {shown(smallest)}")
        self.add(target.name, inputs, time.monotonic() - began, len(known))

    def add(self, name: str, inputs: int, seconds: float, defects: int) -> None:
        """Add a row."""
        self.total += inputs
        self.table.add(name, f"{inputs:,}", f"{inputs / seconds:,.0f}", defects)

    def _handle(self, target: Target, value: Any) -> None:
        """Let the target handle `value`. If that takes too long, it may try once more: the first time may read modules."""
        for attempt in ("first", "second"):
            self.log.messages.clear()
            started = time.process_time()
            with interrupted_after(FOREVER * target.seconds):
                try:
                    target.handle(value)
                except UserError as error:
                    expect(not any(CANARY in line for line in error.lines), "a user's mistake shows a password")
            self.log.check()
            if time.process_time() - started <= target.seconds:
                return
            expect(attempt == "first", f"an input takes more than {target.seconds:g} s")


def run_round(test: Callable[[Any], None], target: Target, examples: int, seed: str) -> None:
    """Run `test` with `examples` inputs. Raises what the smallest failing one raises."""
    settings = hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[Phase.generate, *([Phase.shrink] if target.shrinks else [])],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    given: Any = hypothesis.given(target.strategy)
    hypothesis.seed(seed)(settings(given(test)))()


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """A context that raises BrokenPromiseError after so many seconds."""

    def interrupt(*_: object) -> None:
        raise BrokenPromiseError("an input is handled for ever")

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def origin(error: BaseException) -> str:
    """Return what equal defects have in common: the type, and the line of the package, or what was promised."""
    if isinstance(error, BrokenPromiseError):
        return str(error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/imageporter/" in frame.filename]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "outside of the package"
    return f"{type(error).__name__} at {where}"


def summary(error: BaseException) -> str:
    """Return one line about a defect."""
    text = origin(error) if isinstance(error, BrokenPromiseError) else f"{origin(error)}: {error}"
    return " ".join(text.split())[:LONGEST_SHOWN]


def shown(value: object) -> str:
    """Return an input as one line, cut off."""
    text = ascii(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}... ({len(text)} characters)"
