"""The doorway to crane: time limits, stalls, cancellation, output.

A shell script stands in for crane, because no real crane can be made to do these things at a chosen moment.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import alive, wait_for

from imageporter.model.account import Account, Accounts
from imageporter.model.reference import Reference, parse
from imageporter.registry.crane import Crane
from imageporter.registry.crane_process import TimeLimits
from imageporter.registry.errors import ErrorKind, RegistryError
from imageporter.registry.program import Threads
from imageporter.system.errors import UserError

SOURCE, TARGET = parse("a.example.com/app@sha256:" + "0" * 64), Reference("b.example.com", "app", "1")
LIMITS = TimeLimits(copy=60, probe=60, stall=60)
NO_ACCOUNTS = Accounts({})


@contextmanager
def crane_of(folder: Path, script: str, limits: TimeLimits = LIMITS, accounts: Accounts = NO_ACCOUNTS) -> Iterator[Crane]:
    """A Crane whose program runs `script`."""
    program, private = folder / "crane", folder / "private"
    program.write_text(f"#!/bin/bash\necho $$ >>{folder}/pids\n{script}\n")
    program.chmod(0o755)
    private.mkdir()
    threads = Threads(4)
    crane = Crane(str(program), private, accounts, {"PATH": os.environ["PATH"]}, limits, threads)
    try:
        yield crane
    finally:
        threads.close()


def pids(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "pids").read_text().split()]


def test_a_copy_that_transfers_nothing_is_terminated(tmp_path: Path) -> None:
    limits = TimeLimits(copy=60, probe=60, stall=0.5)
    with crane_of(tmp_path, "exec sleep 60", limits) as crane, pytest.raises(RegistryError) as caught:
        asyncio.run(crane.copy(SOURCE, TARGET))
    assert str(caught.value) == "copy timed out: no byte read or written for 0.5 seconds (STALL_TIMEOUT)"
    assert not alive(pids(tmp_path))


def test_a_copy_that_transfers_a_little_goes_on_and_so_does_one_in_a_child(tmp_path: Path) -> None:
    limits = TimeLimits(copy=60, probe=60, stall=0.5)
    script = "bash -c 'for i in {1..12}; do sleep 0.1; head -c 1 /dev/zero >/dev/null; done'"
    with crane_of(tmp_path, script, limits) as crane:
        asyncio.run(crane.copy(SOURCE, TARGET))


def test_a_look_up_does_not_stall_but_it_has_a_limit(tmp_path: Path) -> None:
    limits = TimeLimits(copy=60, probe=1.5, stall=0.1)
    with crane_of(tmp_path, "exec sleep 60", limits) as crane, pytest.raises(RegistryError) as caught:
        asyncio.run(crane.digest("target", TARGET, 0.5))
    assert str(caught.value) == "target timed out: no end after 1.5 seconds (PROBE_TIMEOUT)"
    assert (caught.value.kind, caught.value.host) == (ErrorKind.TIMED_OUT, "b.example.com")
    assert not alive(pids(tmp_path))


@pytest.mark.parametrize("script", ["exec sleep 60", "trap '' TERM; while :; do sleep 0.1; done"])
def test_a_cancelled_call_has_ended_its_process(tmp_path: Path, script: str) -> None:
    async def run(crane: Crane) -> None:
        copy = asyncio.create_task(crane.copy(SOURCE, TARGET))
        await asyncio.to_thread(wait_for, (tmp_path / "pids").exists, "it runs")
        copy.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copy
        assert not alive(pids(tmp_path))

    with crane_of(tmp_path, script) as crane:
        asyncio.run(run(crane))


def test_more_calls_than_threads_are_cancelled_too(tmp_path: Path) -> None:
    async def run(crane: Crane) -> None:
        copies = [asyncio.create_task(crane.copy(SOURCE, TARGET)) for _ in range(20)]
        await asyncio.to_thread(wait_for, lambda: (tmp_path / "pids").exists() and len(pids(tmp_path)) == 4, "four run")
        for copy in copies:
            copy.cancel()
        await asyncio.gather(*copies, return_exceptions=True)
        assert not alive(pids(tmp_path))

    with crane_of(tmp_path, "exec sleep 60") as crane:
        asyncio.run(run(crane))


def test_an_error_keeps_no_control_character_and_is_not_endless(tmp_path: Path) -> None:
    script = r"printf 'Error: GET https://x: \033[31mred\n%02000d\n' 1 >&2; exit 1"
    with crane_of(tmp_path, script) as crane, pytest.raises(RegistryError) as caught:
        asyncio.run(crane.digest("source", TARGET))
    assert str(caught.value).startswith("source failed: GET https://x:  [31mred 0000")
    assert str(caught.value).isprintable()
    assert len(caught.value.detail) == 500


def test_every_account_that_crane_rejects_is_reported(tmp_path: Path) -> None:
    accounts = Accounts({host: Account(host, "me", f"secret-{host}") for host in ("a.io", "b.io", "c.io")})
    script = 'read -r password; [ "$3" != b.io ] || exit 0; echo "Error: I do not like $password" >&2; exit 1'
    with crane_of(tmp_path, script, accounts=accounts) as crane, pytest.raises(UserError) as caught:
        asyncio.run(crane.login())
    assert caught.value.lines == (
        "a.io: login failed: I do not like ***",
        "c.io: login failed: I do not like ***",
    )


def test_a_program_that_cannot_be_started_is_an_error_of_its_call(tmp_path: Path) -> None:
    with crane_of(tmp_path, "") as crane:
        (tmp_path / "crane").write_text("not a program")
        with pytest.raises(RegistryError, match="source failed: crane"):
            asyncio.run(crane.digest("source", TARGET))
