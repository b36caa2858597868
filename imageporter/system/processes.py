"""What crane.py and supercronic.py both need of the operating system."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from imageporter.system.signals import Stop

PR_SET_PDEATHSIG = 1

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@contextmanager
def asked(command: tuple[str, ...], seconds: float, stop: Stop) -> Iterator["subprocess.Popen[str]"]:
    """A short-lived program that is asked something: its stdout and stderr are pipes of text.

    With the context it is ended, and all that it started; after `seconds` or by a signal to us, before.
    Raises OSError where it cannot be run, subprocess.TimeoutExpired, and InterruptedPassError.
    """
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
    process = subprocess.Popen(command, **pipes, start_new_session=True, preexec_fn=dying_with(os.getpid()))  # noqa: PLW1509
    timed_out = threading.Event()

    def end() -> None:
        signal_group(process.pid, signal.SIGKILL)

    def late() -> None:
        timed_out.set()
        end()

    timer = threading.Timer(seconds, late)
    timer.start()
    try:
        with stop.ending(end), process:
            try:
                yield process
            finally:
                end()
    finally:
        timer.cancel()
        stop.check()
    if timed_out.is_set():
        raise subprocess.TimeoutExpired(command, seconds)


def signal_group(leader: int, number: signal.Signals) -> None:
    """Send `number` to the process group of `leader`, if there is one left."""
    with suppress(ProcessLookupError):
        os.killpg(leader, number)


def dying_with(parent: int, number: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """What a child of the process `parent` runs before exec, so that `number` ends it when `parent` dies.

    However it dies, by kill -9 too; on Linux only. The kernel looks at the thread that forked: it must
    outlive the child.
    """
    libc = _LIBC

    def prepare() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, number)
            if os.getppid() != parent:  # it died before the call
                os._exit(1)

    return prepare
