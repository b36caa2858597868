"""The supervisor of supercronic: relays its log, and ends the running passes on SIGTERM and SIGINT.

entrypoint.py replaces itself with this program, which keeps the process ID. It runs for months, so it imports little:
without loguru, pydantic and the other libraries it needs 13 MB instead of 41.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from imageporter.system.plain_log import PlainLog
from imageporter.system.processes import kill_with_parent, signal_group
from imageporter.system.signals import SIGNALS, Shutdown

COMMAND = "supervise"
POLL_SECONDS = 0.1
IDLE_SECONDS = 3
# The longest duration of Go. supercronic logs it again and again for a schedule without a further run.
NO_FURTHER_RUN = "-2562047h"
# The exit code of a queue run that another pass postpones. The queue run has logged that itself.
POSTPONED = "exit status 75"
LEVELS = {"warning": "WARNING", "error": "ERROR", "fatal": "ERROR"}


def execute(command: Sequence[str], log: tuple[str, str, bool], first_pass: Sequence[str]) -> NoReturn:
    """Replace this process with `main`, through the script that `command` begins with, which passes its arguments on.

    `command` is the script, supercronic and the descriptor of the crontab. `log`
    is its level and its format, and whether it has no colours. `first_pass` is the command of the pass before the schedule
    begins, if there is one. Both signals must be blocked: `main` unblocks them.
    """
    script, *others = command
    level, log_format, no_color = log
    arguments = (*others, level, log_format, "no-color" if no_color else "color", *first_pass)
    os.execv(sys.executable, (sys.executable, script, COMMAND, *arguments))  # noqa: S606 (no shell is needed)


def main(argv: Sequence[str]) -> int:
    """Run supercronic until it exits or a signal arrives; return the exit code. `argv` is what `execute` passes."""
    supercronic, descriptor, level, log_format, color, *first_pass = argv
    log = PlainLog(level, log_format, no_color=color == "no-color")
    try:
        with Shutdown() as shutdown:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            if first_pass and run_first_pass(first_pass, log, shutdown):
                return shutdown.exit_code
            return Supervisor(supercronic, int(descriptor), log, shutdown).run()
    except Exception as error:
        from imageporter.system import logs  # noqa: PLC0415 (only a bug pays for loguru)

        logs.configure(level, log_format, no_color=color == "no-color")
        logs.log_bug(error)
        return 1


def run_first_pass(command: Sequence[str], log: PlainLog, shutdown: Shutdown) -> bool:
    """Run the pass before the schedule begins (RUN_AT_START); return whether a signal has ended it."""
    log.write("INFO", "RUN_AT_START: the first pass begins now; the schedule follows")
    prepare = kill_with_parent(os.getpid())  # the only other thread waits for signals, so it holds no lock
    process = subprocess.Popen(command, start_new_session=True, preexec_fn=prepare)  # noqa: PLW1509
    with shutdown.calling(process.terminate):
        code = process.wait()
    if shutdown.signum:
        log.write("INFO", f"stopped by {signal.Signals(shutdown.signum).name}")
    elif code:
        log.write("ERROR", f"the first pass ended with exit code {code}")
    return shutdown.signum is not None


class Supervisor:
    """A running supercronic. It leads a session, in which each of its jobs leads a process group."""

    def __init__(self, supercronic: str, crontab: int, log: PlainLog, shutdown: Shutdown) -> None:
        self._log = log
        self._shutdown = shutdown
        self._exited = threading.Event()
        self._has_no_further_run = threading.Event()
        command = (supercronic, "-json", "-quiet", "-no-reap", "-passthrough-logs", f"/dev/fd/{crontab}")
        self._process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            pass_fds=(crontab,),
            start_new_session=True,
            # The only other thread reads from a pipe, so it holds no lock that the child could need.
            preexec_fn=kill_with_parent(os.getpid()),  # noqa: PLW1509
            text=True,
            encoding="utf-8",
            errors="replace",
        )

    def run(self) -> int:
        """Wait until supercronic exits, and return the exit code that follows from it.

        The passes write to our stdout. supercronic's own lines come through a pipe. On a signal supercronic would only wait
        for the running pass, so the pass gets a signal, too.
        """
        relay = threading.Thread(target=self._relay, daemon=True)
        relay.start()
        with self._shutdown.calling(self._stop):
            code = self._process.returncode = os.waitstatus_to_exitcode(self._wait())
            self._exited.set()
        relay.join(IDLE_SECONDS)
        if self._shutdown.signum:
            self._log.write("INFO", f"stopped by {signal.Signals(self._shutdown.signum).name}")
            return self._shutdown.exit_code
        if self._has_no_further_run.is_set():
            return 1
        self._log.write("ERROR", f"supercronic ended by itself, with {code}")
        return 128 - code if code < 0 else code or 1

    def _wait(self) -> int:
        """Wait for supercronic and return its status. As PID 1, this process reaps orphans as well."""
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == self._process.pid:
                return status

    def _relay(self) -> None:
        """Log supercronic's lines: the message of a JSON line, anything else as it is.

        After a signal it is no news that a pass was interrupted. After the last run of the schedule nothing is news, and
        supercronic is killed as soon as its last pass has ended.
        """
        for line in self._process.stderr or ():
            if self._has_no_further_run.is_set():
                continue
            try:
                row = json.loads(line)
                level, message = LEVELS.get(row["level"], "INFO"), f"supercronic: {row['msg']}"
            except (ValueError, LookupError, TypeError):
                level, message = "ERROR", line
            if NO_FURTHER_RUN in message:
                self._has_no_further_run.set()
                self._log.write("ERROR", "CRON has no further run, because its last day is over; correct it")
                threading.Thread(target=self._kill_when_idle, daemon=True).start()
            else:
                is_news = not self._shutdown.signum and not message.endswith(POSTPONED)
                self._log.write(level if is_news else "DEBUG", message)

    def _stop(self) -> None:
        """Let supercronic start nothing new, end the passes that run, and kill supercronic when none is left."""
        self._log.write("INFO", "stopping: the running pass, if there is one, gets a SIGTERM")
        signal_group(self._process.pid, signal.SIGTERM)

        def terminate(job: int) -> None:
            with suppress(ProcessLookupError):
                os.kill(job, signal.SIGTERM)

        self._kill_when_idle(terminate)

    def _kill_when_idle(self, on_job: Callable[[int], None] = lambda _: None) -> None:
        """Kill supercronic after IDLE_SECONDS without a job, unless it exits before. `on_job` is called once for each job.

        Not at once: supercronic logs the next run before a job begins, and may still start one after a SIGTERM.
        """
        seen: set[int] = set()
        busy = time.monotonic()
        while not self._exited.wait(POLL_SECONDS):
            jobs = _jobs(self._process.pid)
            for job in jobs - seen:
                on_job(job)
            seen |= jobs
            busy = time.monotonic() if jobs else busy
            if time.monotonic() - busy > IDLE_SECONDS:
                signal_group(self._process.pid, signal.SIGKILL)


def _jobs(leader: int) -> set[int]:
    """Return the process IDs of the jobs of the supercronic that leads the session `leader` (Linux).

    Each job leads a process group. So does each crane of a pass, but only a job's parent is in supercronic's group.
    """
    found: dict[int, tuple[int, int]] = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208
        with suppress(OSError), open(f"/proc/{name}/stat", errors="replace") as file:
            # `pid (name) state parent group session ...`, and the name may contain anything
            state, parent, group, session = file.read().rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                found[int(name)] = (int(parent), int(group))
    own = {pid for pid, (_, group) in found.items() if group == leader}
    return {pid for pid, (parent, group) in found.items() if group == pid and pid != leader and parent in own}
