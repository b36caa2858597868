"""Graceful shutdown on SIGTERM and SIGINT.

Imports nothing slow: the scripts call `exit_on_signals` before anything else.
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
    """The run was interrupted: nothing new may start. `exit_code` is 130 or 143."""

    def __init__(self, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(f"exit code {exit_code}")


def exit_on_signals() -> None:
    """Exit at once with 130 or 143 on either signal, until a Shutdown takes over: nothing has begun yet.

    As PID 1 of a container, a process without a handler would not even notice a SIGTERM.
    """
    for number in SIGNALS:
        signal.signal(number, _exit)


class Shutdown:
    """A context in which the two signals request a shutdown instead of killing the process. Main thread only.

    `signum` is None until the first signal arrives. After the context both signals are ignored, because the exit code
    is decided.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._requested = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        self._watcher = threading.Thread(target=self._watch, name="shutdown", daemon=True)
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)

    def __enter__(self) -> Self:
        self._watcher.start()
        # Python's own handlers wait for the main thread to run Python code, and may miss one of two signals that arrive at
        # once. The wakeup descriptor is written immediately.
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, _ignore)
        return self

    def __exit__(self, *_: object) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        self._stop_watching()

    @property
    def exit_code(self) -> int:
        """The exit code that a shell reports for a death by the signal (130 or 143); 0 without a signal."""
        return 128 + self.signum if self.signum else 0

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback` once, in another thread, as soon as a signal arrives; immediately if one has arrived already."""
        with self._lock:
            self._callbacks.append(callback)
            is_late = self._requested.is_set()
        if is_late:
            _call_in_thread(callback)
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)

    def check(self) -> None:
        """Raise InterruptedPassError if a signal has arrived."""
        self.wait(0)

    def wait(self, seconds: float) -> None:
        """Sleep for `seconds`. Raises InterruptedPassError as soon as a signal arrives."""
        if self._requested.wait(seconds):
            raise InterruptedPassError(self.exit_code)

    def block(self) -> None:
        """Block both signals, so that one that arrives from now on waits for the program that `os.execv` starts.

        Raises InterruptedPassError if one has arrived already. No other thread may run: the signal could go to it.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._stop_watching()
        self.check()

    def _stop_watching(self) -> None:
        if self._watcher.is_alive():
            signal.set_wakeup_fd(-1)
            os.close(self._writing)
            self._watcher.join()
            os.close(self._reading)

    def _watch(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # they are the main thread's, which may block them
        while arrived := os.read(self._reading, 1):
            if self.signum is not None or arrived[0] not in SIGNALS:
                continue
            self.signum = arrived[0]
            with self._lock:
                self._requested.set()
                callbacks = list(self._callbacks)
            for callback in callbacks:
                _call_in_thread(callback)


def _call_in_thread(callback: Callable[[], None]) -> None:
    try:
        threading.Thread(target=callback, daemon=True).start()
    except RuntimeError:  # no more threads are allowed (docker's --pids-limit)
        callback()


def _ignore(_: int, __: FrameType | None) -> None:
    """Do nothing: the wakeup descriptor has woken the watcher."""


def _exit(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)
