"""Many short crane calls through one program: `xargs` runs them, each with a time limit of its own.

An `sh` call costs this process 4 ms, and the fork of a process of our size doubles what crane itself costs. One
call that drives xargs pays both once: 290 look-ups a second in place of 140, measured on two cores.
"""

import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

# What xargs runs for each line `ID KEYCHAIN SECONDS ARGUMENTS...`; $0 is crane, $1 the private directory. No word of a
# line has a space in it. crane holds xargs's stdout (3) too, so that its end tells the end of all. In the foreground,
# so that a signal to the group of xargs reaches crane. The trap answers also where sh cannot fork.
SCRIPT = """
exec 3>&1; set -f; set -- "$1" $2
private=$1 id=$2 limit=$4 DOCKER_CONFIG=$1/$3 code=125; export DOCKER_CONFIG
trap 'echo "$id $code"' EXIT
shift 4
timeout --foreground --kill-after=3 "$limit" "$0" "$@" >"$private/$id.out" 2>"$private/$id.err"
code=$?
"""
SHORTEST_LIMIT = 0.001
LATEST_ANSWER = 30  # seconds after the limit: something has gone wrong that nobody thought of
TIMED_OUT = frozenset({124, 137})  # as timeout(1) says it, the second where SIGTERM was not enough


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended: the exit code, what was printed, and whether it took too long."""

    code: int
    stdout: bytes
    stderr: bytes
    timed_out: bool


class LookUps:
    """Calls of the program `executable`, at most `width` at once.

    `start` runs xargs in the background: it takes xargs's arguments, the queue that feeds its stdin, what is to be
    told each line of its stdout, and what is to be told its end.
    """

    def __init__(self, executable: str, private: Path, width: int, start: "Start") -> None:
        script = ("sh", "-c", SCRIPT, executable, str(private))
        self._command = ("-0", "-n1", f"-P{width}", *script)
        self._private = private
        self._start = start
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._lines: queue.Queue[str | None] | None = None
        self._waiting: dict[str, Future[int]] = {}

    def open(self) -> None:
        """Start xargs, where it does not run: at first, and when something killed it."""
        with self._lock:
            self._opened()

    def close(self) -> None:
        """Let xargs end, after what still runs."""
        with self._lock:
            if self._lines is not None:
                self._lines.put(None)

    def run(self, arguments: Sequence[str], keychain: str, seconds: float) -> Answer:
        """Run crane with `arguments`, for `seconds` at most; `keychain` names a folder of the private directory.

        Raises ChildProcessError where there is no answer, or not all of it.
        """
        number = str(next(self._numbers))
        began = time.monotonic()
        ended: Future[int] = Future()
        line = " ".join((number, keychain, f"{max(seconds, SHORTEST_LIMIT):.3f}", *arguments))
        files = [self._private / f"{number}.out", self._private / f"{number}.err"]
        try:
            with self._lock:
                self._waiting[number] = ended
                self._opened().put(f"{line}\0")
            code = ended.result(seconds + LATEST_ANSWER)
            stdout, stderr = (file.read_bytes() for file in files)
        except ChildProcessError:
            raise
        except TimeoutError:
            raise ChildProcessError("xargs does not answer") from None
        except (OSError, RuntimeError) as error:  # no process, thread or file is to be had
            raise ChildProcessError(f"it could not be run: {error}") from None
        finally:
            with self._lock:
                self._waiting.pop(number, None)
            for file in files:
                file.unlink(missing_ok=True)
        if stdout and not (code or (stdout.endswith(b"\n") and os.statvfs(self._private).f_bavail)):
            raise ChildProcessError(f"{self._private.parent} is full")  # crane does not tell
        return Answer(code, stdout, stderr, code in TIMED_OUT and time.monotonic() - began >= seconds)

    def _opened(self) -> "queue.Queue[str | None]":
        if self._lines is None:
            lines = self._lines = queue.Queue()
            try:
                self._start(self._command, lines, self._told, lambda *_: self._ended(lines))
            except BaseException:
                self._lines = None
                raise
        return self._lines

    def _told(self, line: str) -> None:
        number, _, code = line.strip().partition(" ")
        with self._lock:
            waiting = self._waiting.pop(number, None)
        if waiting:
            waiting.set_result(int(code))

    def _ended(self, lines: "queue.Queue[str | None]") -> None:
        with self._lock:
            if self._lines is not lines:
                return
            self._lines = None
            left, self._waiting = self._waiting, {}
        for waiting in left.values():
            waiting.set_exception(ChildProcessError("xargs was killed"))


Start = Callable[[Sequence[str], "queue.Queue[str | None]", Callable[[str], None], Callable[..., None]], None]
