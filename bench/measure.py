"""Run a program and measure it and all processes that it starts: seconds, CPU, peak memory."""

import os
import platform
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

SAMPLE_SECONDS = 0.02
PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """The cost of a run: seconds of the clock, seconds of CPU of the whole tree and of its first process, bytes.

    `cpu` counts every process that its parent has waited for. `memory` is the largest sum of the resident
    sets of the tree, sampled every SAMPLE_SECONDS: pages that two processes share count twice. It is never
    less than the peak of the first process, which the kernel keeps.
    """

    wall: float
    cpu: float
    own_cpu: float
    memory: int
    code: int


def processor() -> str:
    """Return the name of this machine's processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


class _Tree:
    """The running processes below a process, without reading all of /proc for every sample.

    A process is read once, when it is new: it belongs to the tree if its parent does.
    """

    def __init__(self, root: int) -> None:
        self._members = {root}
        self._others: set[int] = set()

    def pids(self) -> set[int]:
        """Return the IDs of the processes that run now."""
        running = {int(name) for name in os.listdir("/proc") if name.isdecimal()}  # noqa: PTH208 - half the time
        self._members &= running
        self._others &= running
        for pid in sorted(running - self._members - self._others):
            fields = _stat(pid)
            (self._members if fields and int(fields[1]) in self._members else self._others).add(pid)
        return self._members


class _Sampler(threading.Thread):
    """Follow the memory of a tree in the background."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._tree = _Tree(pid)
        self._over = threading.Event()
        self.memory = 0

    def run(self) -> None:
        pause = 0.0
        while not self._over.wait(pause):
            began = time.monotonic()
            self._sample()
            # At most a tenth of one core, even for a tree of a hundred processes.
            pause = max(SAMPLE_SECONDS, 9 * (time.monotonic() - began))

    def stop(self) -> None:
        self._over.set()
        self.join()

    def cpu(self) -> float:
        """Return the seconds of CPU so far, of the running processes and of those waited for."""
        known = [fields for pid in self._tree.pids() if (fields := _stat(pid))]
        return sum(int(field) for fields in known for field in fields[11:15]) / TICK

    def _sample(self) -> None:
        pages = sum(_resident_pages(pid) for pid in self._tree.pids())
        self.memory = max(self.memory, pages * PAGE, _peak(self._pid))


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; none if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _resident_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    except OSError:
        return 0


def _peak(pid: int) -> int:
    """Return the peak resident set of a running process, in bytes.

    This is not `ru_maxrss` of wait4: a process that a larger one has started inherits that one's peak there.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)


def _own_cpu(pid: int) -> float:
    """Return the seconds of CPU of one process, which may have ended if nobody has waited for it yet."""
    return sum(int(field) for field in _stat(pid)[11:13]) / TICK


def _happens(event: threading.Event, pid: int) -> bool:
    """Wait for `event`; return False if the process ends first."""
    while not event.wait(0.1):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            return False
    return True


def measured(
    command: Sequence[str], folder: Path, env: Mapping[str, str], limit: float, until: threading.Event | None = None
) -> Measured:
    """Run `command` in `folder` for at most `limit` seconds; its output goes to `folder`/output.log.

    With `until`, measure up to that event and then send SIGTERM. Raises subprocess.TimeoutExpired.
    """
    with open(folder / "output.log", "wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=folder, env=dict(env), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        sampler = _Sampler(process.pid)
        sampler.start()
        late = threading.Timer(limit, os.killpg, (process.pid, signal.SIGKILL))
        late.start()
        early = None
        if until and _happens(until, process.pid):
            wall = time.monotonic() - began
            sampler.stop()
            early = Measured(wall, sampler.cpu(), _own_cpu(process.pid), sampler.memory, 0)
            process.terminate()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie's CPU can still be read
        wall = time.monotonic() - began
        timed_out = not late.is_alive()
        late.cancel()
        sampler.stop()
        own_cpu = _own_cpu(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if timed_out:
        raise subprocess.TimeoutExpired(command, limit)
    if early:
        return replace(early, code=process.returncode)
    return Measured(wall, usage.ru_utime + usage.ru_stime, own_cpu, sampler.memory, process.returncode)
