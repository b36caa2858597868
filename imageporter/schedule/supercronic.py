"""The doorway to supercronic: judging a schedule, and running it so that its end is ours."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from loguru import logger

from imageporter.system.logs import plain
from imageporter.system.processes import asked, dying_with, signal_group
from imageporter.system.signals import Stop

WITH_YEAR = 6
FIELDS = (1, 5, WITH_YEAR, 7)
JUDGING_SECONDS = 60
LOOK_AGAIN = 0.1
IDLE_SECONDS = 3
NEXT = "job will run next at "
NEVER = "0001-01-01"
# The longest time Go knows: what supercronic says, without end, of a schedule whose last day is over.
OVER = "-2562047h"
# A run over the queue, which waits for a pass, has said so itself.
WAITS = "exit status 75"
LEVELS = {"warning": "WARNING", "error": "ERROR", "fatal": "ERROR"}


def judge(executable: str, folder: Path, name: str, cron: str, mistakes: list[str], stop: Stop) -> str:
    """Have supercronic parse the schedule `cron` of the variable `name`, in a crontab in `folder`.

    One that it does not take, or that never comes, is added to `mistakes`. Gives when it comes next, in
    supercronic's words: `2026-11-24 00:00:00 +0800 CST`. Raises InterruptedPassError.
    """
    first = ""
    trial = folder / "trial"
    trial.write_text(f"{cron} true\n")
    if len(cron.split()) == WITH_YEAR and cron.endswith("*"):
        logger.warning("{}: {!r} has six fields: the last is the year; for seconds first write seven", name, cron)
    try:
        reason = _refusal(executable, trial, cron, stop)
        if reason is not None:
            mistakes.append(f"{name}: {cron!r} is not a schedule: {reason}; write one like '0 0 * * *'")
        elif (first := _next(executable, trial, stop)).startswith(NEVER):
            mistakes.append(f"{name}: {cron!r} never comes; correct its day, month or year")
    except (OSError, ValueError, LookupError, TypeError, subprocess.TimeoutExpired) as error:
        what = f"{executable!r} does not work as supercronic ({type(error).__name__})"
        mistakes.append(f"SUPERCRONIC: {what}; set it to the path of supercronic")
    return first


def _refusal(executable: str, trial: Path, cron: str, stop: Stop) -> str | None:
    """Why supercronic does not take `cron`, which stands in the crontab `trial`; None where it does.

    supercronic takes as many fields as make a schedule and runs the rest as a command, so a line that
    it calls valid is only good when it read all fields of `cron` as the schedule: its debug lines tell.
    """
    with asked((executable, "-test", "-debug", "-json", "-no-reap", str(trial)), JUDGING_SECONDS, stop) as judging:
        _, told = judging.communicate()
    said = [str(json.loads(line)["msg"]) for line in told.splitlines()]
    fields = len(cron.split())
    refused = next((line for line in said if line.startswith(f"failed to parse ({fields} fields)")), None)
    if fields not in FIELDS:
        return f"it has {fields} fields, not 5, 6 (with the year last) or 7 (with seconds first, the year last)"
    if refused is not None:
        return refused.rpartition("failed: ")[2]
    if judging.returncode or not any(line.startswith(f"try parse ({fields} fields)") for line in said):
        return "supercronic reads no schedule in it"
    return None


def _next(executable: str, trial: Path, stop: Stop) -> str:
    """When the schedule in the crontab `trial` comes next, in supercronic's words; NEVER and more for 30 February."""
    with asked((executable, "-debug", "-json", "-no-reap", str(trial)), JUDGING_SECONDS, stop) as trying:
        told = (line.partition(NEXT)[2].partition('"')[0] for line in trying.stderr or () if NEXT in line)
        first = next(told, None)
    if first is None:
        raise ValueError("it does not say when the schedule comes")
    return first


def run(executable: str, crontab: Path, stop: Stop) -> int:
    """Run supercronic until it ends; gives the exit code that this makes ours.

    supercronic, told to stop, only waits for the pass that runs. So a signal goes to that pass too.
    The passes write to our stdout; what supercronic itself has to say comes into our log.
    """
    reading, writing = os.pipe()
    command = (executable, "-json", "-quiet", "-no-reap", "-passthrough-logs", str(crontab))
    ended, over = threading.Event(), threading.Event()
    # The only other thread reads from a pipe: it holds no lock that the child could need.
    process = subprocess.Popen(command, stderr=writing, start_new_session=True, preexec_fn=dying_with(os.getpid()))  # noqa: PLW1509
    os.close(writing)
    relay = threading.Thread(target=_relay, args=(reading, process.pid, stop, ended, over), daemon=True)
    relay.start()
    with stop.ending(lambda: _end(process.pid, ended)):
        code = process.returncode = os.waitstatus_to_exitcode(_wait_for(process.pid))
        ended.set()
    relay.join(IDLE_SECONDS)
    if stop.exit_code:
        logger.info("stopped by {}", signal.Signals(stop.exit_code - 128).name)
        return stop.exit_code
    if over.is_set():
        return 1
    logger.error("supercronic ended by itself, with {}", code)
    return 128 - code if code < 0 else code or 1


def _relay(descriptor: int, child: int, stop: Stop, ended: threading.Event, over: threading.Event) -> None:
    """Log what comes from supercronic's stderr: its JSON lines in our words, anything else as it is.

    Once `stop` was asked for, that a pass ended early is no news. Once the schedule is `over`, nothing is, and
    supercronic is ended after its last pass.
    """
    with open(descriptor, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if over.is_set():
                continue
            try:
                said = json.loads(line)
                level, words = LEVELS.get(said["level"], "INFO"), f"supercronic: {said['msg']}"
            except (ValueError, LookupError, TypeError):
                level, words = "ERROR", line
            if OVER in words:
                over.set()
                logger.error("CRON comes no more: its last day is over; correct it")
                threading.Thread(target=_end_when_idle, args=(child, ended), daemon=True).start()
            else:
                logger.log("DEBUG" if stop.exit_code or words.endswith(WAITS) else level, "{}", plain(words))


def _end_when_idle(child: int, ended: threading.Event, tell: Callable[[int], None] = lambda _: None) -> None:
    """Kill the supercronic `child` when it has run no pass for a while, unless it `ended`; each pass is shown to `tell` once.

    Not at once: it tells the next time before a pass has begun, and one may still start when it was told to stop.
    """
    told: set[int] = set()
    busy = time.monotonic()
    while not ended.wait(LOOK_AGAIN):
        jobs = _jobs(child)
        for job in jobs - told:
            tell(job)
        told |= jobs
        busy = time.monotonic() if jobs else busy
        if time.monotonic() - busy > IDLE_SECONDS:
            signal_group(child, signal.SIGKILL)


def _wait_for(child: int) -> int:
    """Wait for the process `child`; gives its status. As PID 1, orphans are this process's to reap."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            return status


def _end(child: int, ended: threading.Event) -> None:
    """Tell supercronic `child` to start nothing new, and the passes it runs to end, until it `ended`."""
    logger.info("stopping: the running pass, if there is one, is told to end")
    signal_group(child, signal.SIGTERM)

    def tell(job: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(job, signal.SIGTERM)

    _end_when_idle(child, ended, tell)


def _jobs(leader: int) -> set[int]:
    """The process IDs of the passes that the supercronic of the process group `leader` runs (Linux).

    It leads its session; each of its jobs leads a process group of its own in it, and so does each crane of
    a pass, but only a job's parent is of supercronic's group.
    """
    known: dict[int, tuple[int, int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # `pid (name) state parent group session ...`, where the name may hold anything
            state, parent, group, session = stat.read_text(errors="replace").rpartition(")")[2].split()[:4]
            if int(session) == leader and state != "Z":
                known[int(stat.parent.name)] = (int(parent), int(group))
    ours = {pid for pid, (_, group) in known.items() if group == leader}
    return {pid for pid, (parent, group) in known.items() if group == pid and pid != leader and parent in ours}
