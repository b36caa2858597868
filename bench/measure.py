"""A program and all that it starts: seconds, CPU, peak memory."""

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support import descendants

SAMPLE_SECONDS = 0.1
PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """What a run took: seconds of the clock, seconds of CPU of the whole tree and of the first process, bytes.

    The memory is the largest sum of the resident sets of the tree, looked at each SAMPLE_SECONDS: what two
    processes share counts twice, and a peak between two looks is missed.
    """

    wall: float
    cpu: float
    own_cpu: float
    memory: int
    code: int


class _Sampler(threading.Thread):
    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self.over = threading.Event()
        self.memory = 0
        self.own_cpu = 0.0

    def run(self) -> None:
        while not self.over.wait(SAMPLE_SECONDS):
            self.look()

    def look(self) -> None:
        memory = 0
        for pid in (self._pid, *descendants(self._pid)):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            memory += int(fields[21]) * PAGE
            if pid == self._pid:
                self.own_cpu = (int(fields[11]) + int(fields[12])) / TICK
        self.memory = max(self.memory, memory)


def measured(command: Sequence[str], folder: Path, env: Mapping[str, str], limit: float) -> Measured:
    """Run `command` in `folder`, for `limit` seconds at most; its output goes to `folder`/output.log.

    Raises subprocess.TimeoutExpired.
    """
    with open(folder / "output.log", "wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=folder, env=dict(env), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        sampler = _Sampler(process.pid)
        sampler.start()
        late = threading.Timer(limit, os.killpg, (process.pid, 9))
        late.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        timed_out = not late.is_alive()
        late.cancel()
        sampler.over.set()
        sampler.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if timed_out:
        raise subprocess.TimeoutExpired(command, limit)
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(wall, cpu, sampler.own_cpu, sampler.memory, process.returncode)
