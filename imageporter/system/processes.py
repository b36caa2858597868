"""Child processes: bounded in time, killed with their parent, observed through /proc."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from imageporter.system.signals import Shutdown

PR_SET_PDEATHSIG = 1

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


@contextmanager
def bounded_process(
    command: tuple[str, ...], seconds: float, shutdown: Shutdown, environ: Mapping[str, str], descriptors: Sequence[int] = ()
) -> Iterator["subprocess.Popen[str]"]:
    """Run a short-lived program, with `environ` and some open `descriptors`, whose stdout and stderr are text pipes.

    It and everything it started is killed when the context ends, after `seconds`, or on a signal to this process.
    Raises OSError if it cannot be run, subprocess.TimeoutExpired, and InterruptedPassError.
    """
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "errors": "replace"}
    prepare = kill_with_parent(os.getpid())
    process = subprocess.Popen(
        command,
        **pipes,
        env=environ,
        pass_fds=descriptors,
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509
    )
    timed_out = threading.Event()

    def kill() -> None:
        signal_group(process.pid, signal.SIGKILL)

    def time_out() -> None:
        timed_out.set()
        kill()

    timer = threading.Timer(seconds, time_out)
    timer.start()
    try:
        with shutdown.calling(kill), process:
            try:
                yield process
            finally:
                kill()
    finally:
        timer.cancel()
        timer.join()  # Shutdown.block needs this
        shutdown.check()
    if timed_out.is_set():
        raise subprocess.TimeoutExpired(command, seconds)


def forbid_core_files() -> None:
    """Let no crash of this process, or of its children, write its memory to a file, because passwords are in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def signal_group(leader: int, number: signal.Signals) -> None:
    """Send `number` to the process group of `leader`, if any process of it is left."""
    with suppress(ProcessLookupError):
        os.killpg(leader, number)


def kill_with_parent(parent: int, number: signal.Signals = signal.SIGKILL, memory: int | None = None) -> Callable[[], None]:
    """Return a function for a child of the process `parent` to call before exec: `number` ends it when `parent` dies.

    It may also limit the child's `memory` (bytes).

    It works however `parent` dies, `kill -9` included, but on Linux only. The kernel watches the *thread* that forked,
    so that thread must outlive the child (prctl(2), PR_SET_PDEATHSIG).
    """
    libc = _LIBC
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    least = memory if memory is None or hard == resource.RLIM_INFINITY else min(memory, hard)

    def prepare() -> None:
        if least is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (least, least))
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, number)
            if os.getppid() != parent:  # it died before the call
                os._exit(1)

    return prepare


def bytes_transferred(pid: int) -> int | None:
    """Return how many bytes the process `pid` and its children have read and written so far, sockets included.

    Returns None if the kernel does not say (proc(5), /proc/PID/io; Linux only).
    """
    try:
        counters = Path(f"/proc/{pid}/io").read_text().split()
        total = int(counters[1]) + int(counters[3])  # rchar and wchar
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                total += bytes_transferred(int(child)) or 0
    except (OSError, IndexError, ValueError):
        return None
    return total
