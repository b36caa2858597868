"""The one doorway to other programs, through `sh`.

Each process is started and awaited by a thread of a pool, because `sh` in threads is faster than `sh` on asyncio. The
threads of the pool outlive their processes, which are killed with the thread that forked them (see kill_with_parent).
"""

import asyncio
import os
import shlex
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import sh
from loguru import logger

from imageporter.registry.crane_process import Call, Limit, Output, Tail, bound, end
from imageporter.registry.errors import ErrorKind, RegistryError, process_limit_advice
from imageporter.system.processes import kill_with_parent

LONGEST_OUTPUT = 32 << 20  # characters: a million tags of 30 letters
LONGEST_STDERR = 1 << 20
PIPE_SIZE = 1 << 16  # bytes, which arrive at once


@dataclass(frozen=True, slots=True)
class Result:
    """How a process ended. `stdout` of a call that may stall is not read."""

    exit_code: int
    stdout: str
    stderr: str


class Threads:
    """The threads that wait for processes, at most `width` at once."""

    def __init__(self, width: int) -> None:
        self.pool = ThreadPoolExecutor(width, thread_name_prefix="program")
        # More forks at once only compete: with 32 threads, two forks at a time on two cores start crane 15 % faster.
        self.forks = threading.Semaphore(os.cpu_count() or 1)
        # A stream that is not needed costs a thread of sh per call.
        self.null = open(os.devnull, "r+b")  # noqa: SIM115 (closed by `close`)

    def close(self) -> None:
        """Wait for the threads, whose processes have ended."""
        self.pool.shutdown(cancel_futures=True)
        self.null.close()


class Program:
    """A program, run many times at once. A call that is cancelled has ended its process."""

    def __init__(self, executable: str, threads: Threads) -> None:
        self._name = os.path.basename(executable)  # noqa: PTH119 (a text)
        options: dict[str, Any] = {"_new_group": True}
        options |= {"_bg": True, "_bg_exc": False, "_tty_out": False, "_decode_errors": "replace"}
        # Python and libcurl open every descriptor close-on-exec, so sh need not close them one by one (8 % of a call).
        options["_close_fds"] = False
        self._program = sh.Command(executable).bake(**options)
        self._threads = threads

    async def run(
        self, subject: str, command: tuple[str, ...], environ: Mapping[str, str], limit: Limit, stdin: str | None = None
    ) -> Result:
        """Run the program with the arguments `command`. Raises RegistryError, about `subject`, if it has no end of its own."""
        logger.debug("+ {} {}", self._name, shlex.join(command))
        call = Call()
        stdout = Output(LONGEST_OUTPUT, lambda: call.signal(signal.SIGKILL))
        stderr = Tail(LONGEST_STDERR)  # the error is its last line
        null = self._threads.null
        options: dict[str, Any] = {"_env": dict(environ), "_in": null if stdin is None else stdin, "_err": stderr.append}
        options["_preexec_fn"] = kill_with_parent(os.getpid(), memory=limit.memory)
        options |= {"_out": null} if limit.stall else {"_out": stdout.append, "_out_bufsize": PIPE_SIZE}
        try:
            started = self._threads.pool.submit(self._execute, call, self._program.bake(**options), command)
        except RuntimeError as error:  # no thread can be started, but another one may still find the call in the queue
            call.must_end = True
            raise RegistryError(subject, ErrorKind.OTHER, process_limit_advice(str(error)) or str(error)) from None
        process = asyncio.wrap_future(started)
        try:
            overrun = await bound(process, call, limit)
        except asyncio.CancelledError:
            await end(started, process, call)
            raise
        exit_code, reason = await process
        if stdout.overflowed:
            text = f"{self._name} printed more than {LONGEST_OUTPUT >> 20} MiB"
            raise RegistryError(subject, ErrorKind.OTHER, text)
        if exit_code and overrun:
            raise RegistryError(subject, ErrorKind.TIMED_OUT, overrun)
        return Result(exit_code, str(stdout), reason or str(stderr))

    def _execute(self, call: Call, program: Any, command: tuple[str, ...]) -> tuple[int, str]:
        """Run the program in this thread; return its exit code, and why it could not be run."""
        try:
            with self._threads.forks:
                running = program(*command)
        except (OSError, RuntimeError, sh.ForkException) as error:  # no process or thread can be started
            return 1, f"Error: {process_limit_advice(str(error)) or f'{self._name} could not be run: {error}'}"
        call.pid = running.pid
        if call.must_end:  # since before it ran
            call.signal(signal.SIGKILL)
        try:
            running.wait()
        except sh.ErrorReturnCode as error:
            return error.exit_code, ""
        finally:
            call.pid = 0
        return 0, ""
