"""Child processes: their end, however it comes."""

import os
import subprocess
import sys
import threading
import time

import pytest
from support import BUNDLE, alive, wait_for

from imageporter.system.processes import bounded_process, bytes_transferred
from imageporter.system.signals import InterruptedPassError, Shutdown

SLEEP = ("sh", "-c", "sleep 60 & echo $!; wait")


def test_the_output_and_the_exit_code() -> None:
    with bounded_process(("sh", "-c", "echo out; echo error >&2; exit 3"), 20, Shutdown(), os.environ) as process:
        assert process.communicate() == ("out\n", "error\n")
    assert process.returncode == 3


def test_a_process_that_takes_too_long_is_killed_with_its_children() -> None:
    pid = 0
    with pytest.raises(subprocess.TimeoutExpired), bounded_process(SLEEP, 0.3, Shutdown(), os.environ) as process:  # noqa: PT012
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.communicate()
    wait_for(lambda: not alive([pid]), "the grandchild is dead")


def test_a_process_is_killed_at_the_end_of_the_context() -> None:
    with bounded_process(SLEEP, 60, Shutdown(), os.environ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
    wait_for(lambda: not alive([pid]), "the grandchild is dead")
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_a_shutdown_kills_it() -> None:
    shutdown = Shutdown()
    shutdown.signum = 15
    began = time.monotonic()
    with pytest.raises(InterruptedPassError), bounded_process(SLEEP, 60, shutdown, os.environ) as process:  # noqa: PT012
        shutdown._requested.set()  # noqa: SLF001 (what a signal does)
        for callback in shutdown._callbacks:  # noqa: SLF001
            callback()
        process.communicate()
    assert time.monotonic() - began < 10


def test_a_program_that_is_missing() -> None:
    with pytest.raises(FileNotFoundError), bounded_process(("/nowhere",), 1, Shutdown(), os.environ):
        pass


def test_a_child_dies_with_its_parent() -> None:
    script = """
import os, subprocess, sys
from imageporter.system.processes import kill_with_parent
child = subprocess.Popen(["sleep", "60"], preexec_fn=kill_with_parent(os.getpid()))
print(child.pid, flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=BUNDLE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive([child])
        parent.kill()
    wait_for(lambda: not alive([child]), "the child died too")


def test_the_bytes_of_a_process_and_its_children_are_counted() -> None:
    command = ("sh", "-c", "sh -c 'head -c 1000000 /dev/zero | cat >/dev/null; echo; read _'")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        transferred = bytes_transferred(process.pid)
        process.stdin.close()  # type: ignore[union-attr]
    assert transferred is not None
    assert transferred > 1000
    assert bytes_transferred(process.pid) is None
    assert bytes_transferred(os.getpid()) is not None
