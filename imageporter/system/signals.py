"""SIGTERM and SIGINT: remembered, told to whoever ends running work, and cutting every wait short.

Imports nothing that takes long: the scripts call `exit_on_signals` before anything else.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class InterruptedPassError(Exception):
    """The pass was told to stop: nothing new may start. `exit_code` is 130 or 143."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(f"exit code {exit_code}")


def exit_on_signals() -> None:
    """Until a Stop takes over, either signal ends the process at once, with 130 or 143: nothing has begun.

    As PID 1 of a container, a process without a handler would not even notice a SIGTERM.
    """
    for number in SIGNALS:
        signal.signal(number, _exit)


class Stop:
    """A context in which the two signals do not kill but ask. To be entered in the main thread.

    `signum` is None until the first signal came. After the context, when the exit code is decided,
    both signals are ignored.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self._ends: list[Callable[[], None]] = []
        self._watcher = threading.Thread(target=self._watch, name="stop", daemon=True)
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)

    def __enter__(self) -> Self:
        self._watcher.start()
        # Python's own handlers wait for the main thread, and of two signals at once it may notice none: the
        # wakeup descriptor is written at once, in whichever thread the kernel has chosen.
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, _noted)
        return self

    def __exit__(self, *_: object) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        os.close(self._writing)
        self._watcher.join()
        os.close(self._reading)

    @property
    def exit_code(self) -> int:
        """What a shell gives for a death by the signal (130 or 143); 0 where none came."""
        return 128 + self.signum if self.signum else 0

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """A context in which `end` is called once, in another thread, as soon as a signal comes or if one came already."""
        with self._lock:
            self._ends.append(end)
            late = self._asked.is_set()
        if late:
            threading.Thread(target=end, daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._ends.remove(end)

    @contextmanager
    def breaking(self) -> Iterator[None]:
        """A context in which a signal raises InterruptedPassError at once, wherever the main thread is.

        For work that keeps every other thread from running and cannot look itself: a regular expression may
        search for ever, but lets signal handlers run. To be entered in the main thread.
        """
        self.check()
        try:
            for number in SIGNALS:
                signal.signal(number, _break)
            yield
        finally:
            for number in SIGNALS:
                signal.signal(number, _noted)

    def check(self) -> None:
        """Raise InterruptedPassError once a signal came."""
        self.wait(0)

    def wait(self, seconds: float) -> None:
        """Sleep `seconds`, or raise InterruptedPassError as soon as a signal comes."""
        if self._asked.wait(seconds):
            raise InterruptedPassError(self.exit_code)

    def _watch(self) -> None:
        while arrived := os.read(self._reading, 1):
            if self.signum is not None or arrived[0] not in SIGNALS:
                continue
            self.signum = arrived[0]
            with self._lock:
                self._asked.set()
                ends = list(self._ends)
            for end in ends:
                threading.Thread(target=end, daemon=True).start()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """A context that raises TimeoutError after `seconds`, wherever the main thread is; to be entered there."""

    def late(_: int, __: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _noted(_: int, __: FrameType | None) -> None:
    """Nothing: the wakeup descriptor has told the watcher."""


def _break(number: int, _: FrameType | None) -> None:
    for each in SIGNALS:  # once: a second signal must not break what reports the first
        signal.signal(each, _noted)
    raise InterruptedPassError(128 + number)


def _exit(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)
