"""The doorway to other programs: arguments, streams, limits, and programs that cannot be run."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger
from support import alive, wait_for

from imageporter.registry import program as program_module
from imageporter.registry.crane_process import Call, Limit
from imageporter.registry.errors import ErrorKind, RegistryError
from imageporter.registry.program import Program, Result, Threads

LIMIT = Limit(60, "60 seconds (X)")


@pytest.fixture
def threads() -> Iterator[Threads]:
    started = Threads(2)
    yield started
    started.close()


def run(threads: Threads, script: str, limit: Limit = LIMIT, stdin: str | None = None, **environ: str) -> Result:
    return asyncio.run(Program("/bin/bash", threads).run("copy", ("-c", script, "name", "a b"), environ, limit, stdin))


def test_the_exit_code_and_both_streams(threads: Threads) -> None:
    assert run(threads, 'echo "$1"; echo oops >&2; exit 3') == Result(3, "a b\n", "oops\n")
    assert run(threads, "exit 0") == Result(0, "", "")
    assert run(threads, r"printf '\377'") == Result(0, "\N{REPLACEMENT CHARACTER}", "")


def test_a_program_has_only_the_environment_and_the_input_that_it_is_given(threads: Threads) -> None:
    assert run(threads, 'echo "$HOME $A"; cat', A="é", stdin="secret").stdout == " é\nsecret"
    assert run(threads, "read -r line || echo no input").stdout == "no input\n"
    assert run(threads, "test -t 0 || test -t 1 || test -t 2 || echo no terminal").stdout == "no terminal\n"


def test_the_output_of_a_copy_is_not_read(threads: Threads) -> None:
    limit = Limit(60, "60 seconds (X)", stall=60)
    assert run(threads, "echo a; echo oops >&2; exit 3", limit) == Result(3, "", "oops\n")


def test_a_program_leads_a_group_of_its_own_in_limited_memory(threads: Threads) -> None:
    limit = Limit(60, "60 seconds (X)", memory=1 << 30)
    result = run(threads, 'ulimit -d; read -r line </proc/$$/stat; set -- $line; [ "$1" = "$5" ] && echo leader', limit)
    assert result.stdout == f"{1 << 20}\nleader\n"
    assert run(threads, "ulimit -d").stdout == "unlimited\n"


def test_too_much_output_is_an_error(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_module, "LONGEST_OUTPUT", 2 << 20)
    size = 2 << 20
    assert len(run(threads, f"head -c {size} /dev/zero").stdout) == size
    began = time.monotonic()
    with pytest.raises(RegistryError) as caught:
        run(threads, f"head -c {2 * size} /dev/zero; exec sleep 30")
    assert str(caught.value) == "copy failed: bash printed more than 2 MiB"
    assert time.monotonic() - began < 20


def test_of_an_error_the_end_is_kept(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_module, "LONGEST_STDERR", 1000)
    stderr = run(threads, "for i in {1..2000}; do echo $i >&2; done").stderr
    assert stderr.endswith("1999\n2000\n")
    assert len(stderr) <= 1000


def test_a_program_that_overruns_is_an_error_unless_it_has_succeeded(threads: Threads) -> None:
    with pytest.raises(RegistryError) as caught:
        run(threads, "exec sleep 30", Limit(0.3, "0.3 seconds (X)"))
    assert str(caught.value) == "copy timed out: no end after 0.3 seconds (X)"
    assert caught.value.kind is ErrorKind.TIMED_OUT


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("odd"), "Error: bash could not be run: odd"),
        (RuntimeError("odd"), "Error: bash could not be run: odd"),
        (
            RuntimeError("can't start new thread"),
            "Error: no more processes are allowed here (docker's --pids-limit, ulimit -u); "
            "allow more, or lower PROBES and JOBS",
        ),
    ],
)
def test_a_program_that_cannot_be_started_has_failed(threads: Threads, error: Exception, text: str) -> None:
    def refuse(*_: str) -> None:
        raise error

    assert Program("/bin/bash", threads)._execute(Call(), refuse, ()) == (1, text)  # noqa: SLF001


@pytest.mark.parametrize(
    ("message", "text"), [("odd", "odd"), ("can't start new thread", "no more processes are allowed here")]
)
def test_a_thread_that_cannot_be_started_is_an_error(
    threads: Threads, monkeypatch: pytest.MonkeyPatch, message: str, text: str
) -> None:
    calls: list[Call] = []

    def refuse(_: object, call: Call, *__: object) -> None:
        calls.append(call)
        raise RuntimeError(message)

    monkeypatch.setattr(threads.pool, "submit", refuse)
    with pytest.raises(RegistryError, match=f"^copy failed: {text}"):
        run(threads, "exit 0")
    assert [call.must_end for call in calls] == [True]


def test_a_program_that_is_none_has_failed(threads: Threads, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/nowhere\n")
    tool.chmod(0o755)
    result = asyncio.run(Program(str(tool), threads).run("copy", (), {}, LIMIT))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: tool could not be run: ")


def test_a_program_that_succeeds_at_its_limit_has_succeeded(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    async def bound(process: asyncio.Future[object], *_: object) -> str:
        await asyncio.wait({process})
        return "no end after all"

    monkeypatch.setattr(program_module, "bound", bound)
    assert run(threads, "echo a") == Result(0, "a\n", "")
    with pytest.raises(RegistryError, match=r"^copy timed out: no end after all$"):
        run(threads, "exit 1")


def test_a_call_that_is_cancelled_has_ended_its_program(threads: Threads, tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    async def cancel() -> None:
        script = f"echo $$ >{pid}; exec sleep 30"
        running = asyncio.create_task(Program("/bin/bash", threads).run("copy", ("-c", script), {}, LIMIT))
        await asyncio.to_thread(wait_for, lambda: pid.exists() and bool(pid.read_text()), "it runs")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not alive([int(pid.read_text())])

    asyncio.run(cancel())


def test_a_program_whose_call_has_ended_before_it_ran_is_killed(threads: Threads) -> None:
    call = Call()
    call.must_end = True
    program = Program("/bin/bash", threads)
    ready = program._program.bake(_in=threads.null, _out=threads.null, _err=threads.null)  # noqa: SLF001
    began = time.monotonic()
    assert program._execute(call, ready, ("-c", "exec sleep 30")) == (-signal.SIGKILL, "")  # noqa: SLF001
    assert time.monotonic() - began < 20
    assert call.pid == 0


def test_a_command_is_logged_as_a_shell_would_read_it(threads: Threads) -> None:
    lines: list[str] = []
    logging.getLogger("sh").setLevel(logging.WARNING)
    logger.add(lambda message: lines.append(message.record["message"]), level="DEBUG")
    run(threads, "exit 0")
    assert lines == ["+ bash -c 'exit 0' name 'a b'"]


def test_the_threads_are_limited_and_so_are_their_forks() -> None:
    threads = Threads(3)
    assert threads.pool._max_workers == 3  # noqa: SLF001
    assert threads.forks._value == (os.cpu_count() or 1)  # noqa: SLF001
    threads.close()
    assert threads.null.closed
    with pytest.raises(RuntimeError, match="after shutdown"):
        threads.pool.submit(print)
