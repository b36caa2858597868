"""Shutdown: a signal interrupts every wait, and none is lost on the way to another program."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from support import BUNDLE

from imageporter.system.signals import InterruptedPassError, Shutdown


def run(script: str) -> "subprocess.CompletedProcess[str]":
    """Run a script that may send signals to itself."""
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, cwd=BUNDLE, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_interrupts_a_wait(number: signal.Signals, code: int) -> None:
    handlers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        with Shutdown() as shutdown:
            assert shutdown.exit_code == 0
            shutdown.check()
            threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
            began = time.monotonic()
            with pytest.raises(InterruptedPassError) as caught:
                shutdown.wait(30)
            assert time.monotonic() - began < 10
            assert (caught.value.exit_code, shutdown.exit_code, shutdown.signum) == (code, code, number)
            late = threading.Event()
            with shutdown.calling(late.set):
                assert late.wait(10)
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)


def test_a_signal_before_everything_else_ends_the_process() -> None:
    done = run("""
        import os, signal
        from imageporter.system.signals import exit_on_signals
        exit_on_signals()
        os.kill(os.getpid(), signal.SIGTERM)
        print("not reached", flush=True)
    """)
    assert (done.returncode, done.stdout) == (143, "")


def test_a_signal_after_the_context_is_ignored() -> None:
    done = run("""
        import os, signal
        from imageporter.system.signals import Shutdown
        with Shutdown():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        print("reached")
    """)
    assert (done.returncode, done.stdout) == (0, "reached\n")


def test_a_blocked_signal_reaches_the_next_program() -> None:
    """As in entrypoint.py: a signal between the last check and the next program's handlers must not get lost."""
    following = textwrap.dedent("""
        import signal
        from imageporter.system.signals import SIGNALS, InterruptedPassError, Shutdown, exit_on_signals
        exit_on_signals()
        with Shutdown() as shutdown:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            try:
                shutdown.wait(10)
            except InterruptedPassError as error:
                print(error)
    """)
    done = run(f"""
        import os, signal, sys
        from imageporter.system.signals import Shutdown
        with Shutdown() as shutdown:
            shutdown.block()
            os.kill(os.getpid(), signal.SIGTERM)
            os.execv(sys.executable, [sys.executable, "-c", {following!r}])
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "exit code 143\n", "")


def test_a_signal_before_block_is_not_passed_on() -> None:
    done = run("""
        import os, signal
        from imageporter.system.signals import InterruptedPassError, Shutdown
        with Shutdown() as shutdown:
            os.kill(os.getpid(), signal.SIGINT)
            try:
                shutdown.block()
            except InterruptedPassError as error:
                print(error)
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "exit code 130\n", "")
