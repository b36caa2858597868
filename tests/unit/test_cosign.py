"""cosign: its arguments, and the exit codes that mean that an image is not signed."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imageporter.model.account import Account, Accounts
from imageporter.model.reference import Reference
from imageporter.registry.cosign import Cosign
from imageporter.registry.crane import Crane
from imageporter.registry.crane_process import TimeLimits
from imageporter.registry.errors import ErrorKind, RegistryError
from imageporter.registry.program import Threads

IMAGE = Reference("a.example.com", "app", digest="sha256:" + "0" * 64)
KEY = Path("/keys/a.pub")
LIMITS = TimeLimits(copy=60, probe=60, stall=60)
NO_ACCOUNTS = Accounts({})
OLD = "--new-bundle-format=false"


@contextmanager
def cosign_of(folder: Path, script: str, accounts: Accounts = NO_ACCOUNTS, limits: TimeLimits = LIMITS) -> Iterator[Cosign]:
    """A Cosign whose program runs `script`, with its arguments in `calls`."""
    program, private = folder / "cosign", folder / "private"
    program.write_text(f'#!/bin/bash\necho "$*" >>{folder}/calls\n{script}\n')
    program.chmod(0o755)
    private.mkdir()
    threads = Threads(1)
    crane = Crane("/bin/true", private, accounts, {"PATH": os.environ["PATH"]}, LIMITS, threads)
    try:
        yield Cosign(str(program), crane, accounts, limits, threads)
    finally:
        threads.close()


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def failure(folder: Path, script: str, accounts: Accounts = NO_ACCOUNTS) -> RegistryError:
    with cosign_of(folder, script, accounts) as cosign, pytest.raises(RegistryError) as caught:
        asyncio.run(cosign.verify(IMAGE, KEY))
    return caught.value


def test_a_signed_image_is_one_call_with_its_credentials(tmp_path: Path) -> None:
    with cosign_of(tmp_path, f"cat $DOCKER_CONFIG/config.json >>{tmp_path}/calls") as cosign:
        asyncio.run(cosign.verify(IMAGE, KEY))
    assert calls(tmp_path) == [f"verify --key={KEY} --insecure-ignore-tlog=true {IMAGE}", '{"auths": {}}']


def test_a_signature_may_be_of_the_old_format_and_the_registry_insecure(tmp_path: Path) -> None:
    accounts = Accounts({"a.example.com": Account("a.example.com", None, None, insecure=True)})
    with cosign_of(tmp_path, f'[[ "$*" == *{OLD}* ]] || exit 10', accounts) as cosign:
        asyncio.run(cosign.verify(IMAGE, KEY))
    flags = "--allow-http-registry --allow-insecure-registry"
    assert calls(tmp_path) == [
        f"verify --key={KEY} --insecure-ignore-tlog=true {flags} {IMAGE}",
        f"verify --key={KEY} --insecure-ignore-tlog=true {OLD} {flags} {IMAGE}",
    ]


@pytest.mark.parametrize("code", [10, 11, 12, 13])
def test_an_image_that_is_not_signed_is_rejected(tmp_path: Path, code: int) -> None:
    error = failure(tmp_path, f"echo warning >&2; echo 'Error: no $#' >&2; echo more >&2; exit {code}")
    assert str(error) == f"source rejected: {IMAGE} is not signed with /keys/a.pub: no $#"
    assert (error.kind, error.host) == (ErrorKind.REJECTED, "a.example.com")
    assert error.reason == "source rejected: is not signed with /keys/a.pub"


@pytest.mark.parametrize("code", [1, 9, 14])
def test_any_other_exit_code_is_no_verdict(tmp_path: Path, code: int) -> None:
    error = failure(tmp_path, f"exit {code}")
    assert str(error) == f"source failed: cosign verify {IMAGE}: cosign exited with {code}"
    assert (error.kind, error.host, error.is_permanent) == (ErrorKind.OTHER, "a.example.com", False)


def test_the_second_failure_counts_unless_cosign_does_not_know_the_flag(tmp_path: Path) -> None:
    first = "echo 'Error: first' >&2; exit 10"
    (tmp_path / "new").mkdir()
    error = failure(tmp_path / "new", f'[[ "$*" == *{OLD}* ]] || {{ {first}; }}; echo "Error: second" >&2; exit 1')
    assert (error.kind, error.detail) == (ErrorKind.OTHER, f"cosign verify {IMAGE}: second")
    (tmp_path / "old").mkdir()
    error = failure(tmp_path / "old", f'[[ "$*" == *{OLD}* ]] || {{ {first}; }}; echo "Error: unknown flag: x" >&2; exit 1')
    assert (error.kind, error.detail) == (ErrorKind.REJECTED, f"{IMAGE} is not signed with /keys/a.pub: first")


def test_an_error_shows_no_token(tmp_path: Path) -> None:
    assert failure(tmp_path, "echo 'Error: Bearer abc.def.ghi, no' >&2; exit 10").detail.endswith("Bearer ***, no")


def test_a_verification_that_has_no_end_is_an_error_of_the_source(tmp_path: Path) -> None:
    limits = TimeLimits(copy=60, probe=0.3, stall=60)
    with cosign_of(tmp_path, "exec sleep 30", limits=limits) as cosign, pytest.raises(RegistryError) as caught:
        asyncio.run(cosign.verify(IMAGE, KEY))
    assert str(caught.value) == "source timed out: no end after 0.3 seconds (PROBE_TIMEOUT)"
