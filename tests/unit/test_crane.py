"""The doorway to crane: time limits, stalls, cancellation, output.

A shell script stands in for crane, because no real crane can be made to do these things at a chosen moment.
"""

import asyncio
import os
import re
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from loguru import logger
from support import alive, wait_for

from imageporter.model.account import Account, Accounts
from imageporter.model.reference import Reference, parse
from imageporter.registry.crane import Crane
from imageporter.registry.crane_process import TimeLimits
from imageporter.registry.credentials import CraneCredentials
from imageporter.registry.errors import ErrorKind, RegistryError
from imageporter.registry.program import Threads
from imageporter.system.errors import UserError

SOURCE, TARGET = parse("a.example.com/app@sha256:" + "0" * 64), Reference("b.example.com", "app", "1")
LIMITS = TimeLimits(copy=60, probe=60, stall=60)
NO_ACCOUNTS = Accounts({})


@contextmanager
def crane_of(
    folder: Path, script: str, limits: TimeLimits = LIMITS, accounts: Accounts = NO_ACCOUNTS, environ: Mapping[str, str] = {}
) -> Iterator[Crane]:
    """A Crane whose program runs `script`."""
    program, private = folder / "crane", folder / "private"
    program.write_text(f"#!/bin/bash\necho $$ >>{folder}/pids\n{script}\n")
    program.chmod(0o755)
    private.mkdir()
    threads = Threads(4)
    crane = Crane(str(program), private, accounts, {"PATH": os.environ["PATH"], **environ}, limits, threads)
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


DIGEST = "sha256:" + "ab" * 32
SAY = f'echo "$*" >>{{}}/calls; echo {DIGEST}'


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def insecure(*hosts: str) -> Accounts:
    return Accounts({host: Account(host, None, None, insecure=True) for host in hosts})


def fail(
    folder: Path, call: Callable[[Crane], Awaitable[object]], stderr: str, accounts: Accounts = NO_ACCOUNTS
) -> RegistryError:
    """Return the error of a call to a crane that prints `stderr`."""
    (folder / "stderr").write_text(stderr)

    async def run(crane: Crane) -> None:
        await call(crane)

    script = f"cat {folder}/stderr >&2; exit 1"
    with crane_of(folder, script, accounts=accounts) as crane, pytest.raises(RegistryError) as caught:
        asyncio.run(run(crane))
    return caught.value


def test_each_verb_is_one_command(tmp_path: Path) -> None:
    async def run(crane: Crane) -> list[str]:
        await crane.copy(SOURCE, TARGET)
        await crane.filter_index(SOURCE, TARGET, ("linux/amd64", "linux/arm/v7"))
        return [
            await crane.digest("target", TARGET),
            await crane.manifest("source", SOURCE),
            await crane.config("source", SOURCE),
        ]

    with crane_of(tmp_path, SAY.format(tmp_path)) as crane:
        assert asyncio.run(run(crane)) == [DIGEST, f"{DIGEST}\n", f"{DIGEST}\n"]
    assert calls(tmp_path) == [
        f"copy {SOURCE} b.example.com/app:1",
        f"index filter {SOURCE} --platform=linux/amd64 --platform=linux/arm/v7 --tag=b.example.com/app:1",
        "digest b.example.com/app:1",
        f"manifest {SOURCE}",
        f"config {SOURCE}",
    ]


def test_an_insecure_registry_gets_the_flag_and_the_other_side_does_not(tmp_path: Path) -> None:
    async def run(crane: Crane) -> None:
        await crane.digest("source", SOURCE)
        await crane.digest("target", TARGET)
        await crane.copy(TARGET, TARGET)
        await crane.copy(SOURCE, TARGET)
        await crane.copy(TARGET, SOURCE)

    with crane_of(tmp_path, SAY.format(tmp_path), accounts=insecure("b.example.com")) as crane:
        asyncio.run(run(crane))
        assert list((tmp_path / "private").glob("tmp*")) == []
    found = [re.sub(rf"{tmp_path}/private/\w+", "DIRECTORY", call) for call in calls(tmp_path)]
    assert found == [
        f"digest {SOURCE}",
        f"--insecure digest {TARGET}",
        f"--insecure copy {TARGET} {TARGET}",
        f"pull --format=oci {SOURCE} DIRECTORY",
        f"--insecure push DIRECTORY {TARGET}",
        f"--insecure pull --format=oci {TARGET} DIRECTORY",
        f"push DIRECTORY {SOURCE}",
    ]


def test_an_index_is_not_filtered_between_a_secure_and_an_insecure_registry(tmp_path: Path) -> None:
    with crane_of(tmp_path, SAY.format(tmp_path), accounts=insecure("b.example.com")) as crane:
        with pytest.raises(RegistryError) as caught:
            asyncio.run(crane.filter_index(SOURCE, TARGET, ("linux/amd64",)))
        asyncio.run(crane.filter_index(TARGET, TARGET, ("linux/amd64",)))
    assert str(caught.value) == (
        "copy denied: an index cannot be filtered between a registry with and one without `insecure`; leave out `platforms`"
    )
    assert calls(tmp_path) == [f"--insecure index filter {TARGET} --platform=linux/amd64 --tag={TARGET}"]


def test_the_environment_of_crane_is_the_user_s_without_other_credentials(tmp_path: Path) -> None:
    script = f"printf '%s|' $HOME $GODEBUG $DOCKER_AUTH_CONFIG $REGISTRY_AUTH_FILE >>{tmp_path}/calls; echo {DIGEST}"
    environ = {"HOME": "/home/me", "DOCKER_AUTH_CONFIG": "a", "REGISTRY_AUTH_FILE": "b", "DOCKER_CONFIG": "c"}
    with crane_of(tmp_path, script, environ=environ) as crane:
        asyncio.run(crane.digest("source", SOURCE))
        config = Path(crane.environ_for(SOURCE)["DOCKER_CONFIG"])
        assert config.parent == tmp_path / "private"
        assert (config / "config.json").read_text() == '{"auths": {}}'
        assert crane.environ_for(SOURCE).keys() == {"PATH", "HOME", "GODEBUG", "DOCKER_CONFIG"}
    assert calls(tmp_path) == ["/home/me|http2client=0|"]
    shutil.rmtree(tmp_path / "private")
    with crane_of(tmp_path, script, environ={"GODEBUG": "http2client=1,x=y"}) as crane:
        assert crane.environ_for(SOURCE)["GODEBUG"] == "http2client=0,http2client=1,x=y"


def test_a_login_shows_no_secret_in_its_arguments(tmp_path: Path) -> None:
    accounts = Accounts(
        {
            "a.io/team": Account("a.io/team", "token-as-name", "secret"),
            "b.io": Account("b.io", None, None, insecure=True),
            "c.io": Account("c.io", "me", None),
            "d.io": Account("d.io", None, "secret"),
        }
    )
    script = f'read -r password; echo "$* $password $DOCKER_CONFIG" >>{tmp_path}/calls'
    with crane_of(tmp_path, script, accounts=accounts) as crane:
        asyncio.run(crane.login())
    (line,) = calls(tmp_path)
    command, _, directory = line.rpartition(" ")
    assert command == "auth login a.io --username=imageporter --password-stdin secret"
    assert Path(directory).parent == tmp_path / "private"


@pytest.mark.parametrize(
    ("output", "tags"),
    [
        ("a\\nb\\n", ("a", "b")),
        (f"a\\n{DIGEST.replace(':', '-')}.sig\\nsha256-x\\nsha256\\n", ("a", "sha256")),
        ("a\\n-b\\n \\nc\\n", ("a", "c")),
    ],
)
def test_tags_are_listed_without_those_of_signatures(tmp_path: Path, output: str, tags: tuple[str, ...]) -> None:
    repository = Reference("a.example.com", "app")
    warnings: list[str] = []
    logger.add(lambda message: warnings.append(message.record["message"]), level="WARNING")
    with crane_of(tmp_path, f"echo \"$*\" >>{tmp_path}/calls; printf '{output}'") as crane:
        assert asyncio.run(crane.list_tags(repository)) == tags
        expected = {tag for tag in output.split("\\n") if tag.startswith("sha256-")}
        assert asyncio.run(crane.list_digest_tags(repository)) == expected
    assert calls(tmp_path) == 2 * ["ls a.example.com/app"]
    ignored = ["a.example.com/app lists 2 invalid tags; they are ignored"] if "-b" in output else []
    assert warnings == ignored


@pytest.mark.parametrize(("count", "warned"), [(99, 0), (100, 1), (101, 0), (1000, 1)])
def test_a_list_of_a_whole_page_may_be_cut(tmp_path: Path, count: int, warned: int) -> None:
    warnings: list[str] = []
    logger.add(lambda message: warnings.append(message.record["message"]), level="WARNING")
    with crane_of(tmp_path, f"seq {count}") as crane:
        assert len(asyncio.run(crane.list_tags(Reference("a.io", "app")))) == count
    text = f"a.io/app lists exactly {count} tags: if it has more, its registry cuts the list without a link to the next page"
    assert warnings == warned * [text]


@pytest.mark.parametrize("output", ["", "a\\nb", "a\\nb\\nc"])
def test_no_list_and_half_a_list_are_errors(tmp_path: Path, output: str) -> None:
    with crane_of(tmp_path, f"printf '{output}'") as crane, pytest.raises(RegistryError) as caught:
        asyncio.run(crane.list_tags(Reference("a.io", "app")))
    error = caught.value
    assert str(error) == "source not found: a.io/app has no tags; push one, or remove the rule"
    assert (error.host, error.reason) == ("a.io", "source not found: has no tags; push one, or remove the rule")


def test_an_error_of_a_list_is_one_of_the_source(tmp_path: Path) -> None:
    error = fail(tmp_path, lambda crane: crane.list_tags(Reference("a.io", "app")), "Error: odd")
    assert (str(error), error.host) == ("source failed: odd", "a.io")


def test_a_look_up_ends_when_its_time_is_up(tmp_path: Path) -> None:
    began = time.monotonic()
    with crane_of(tmp_path, "exec sleep 30") as crane, pytest.raises(RegistryError, match=r"^target timed out: "):
        asyncio.run(crane.digest("target", TARGET, 0.3))
    assert time.monotonic() - began < 20


def test_a_bug_in_a_login_is_no_mistake_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: Account) -> None:
        raise RuntimeError("ours")

    with crane_of(tmp_path, "", accounts=Accounts({"a.io": Account("a.io", "me", "secret")})) as crane:
        monkeypatch.setattr(crane, "_login", broken)
        with pytest.raises(RuntimeError, match="ours"):
            asyncio.run(crane.login())


def test_what_is_no_digest_is_an_error_that_shows_it(tmp_path: Path) -> None:
    with crane_of(tmp_path, r"printf 'no\nsuch %0100d' 1") as crane, pytest.raises(RegistryError) as caught:
        asyncio.run(crane.digest("target", TARGET))
    shown = f"no such {'0' * 100}"[:80]
    assert str(caught.value) == f"target failed: crane printed {shown!r} instead of a digest"


A, B = "https://a.example.com/v2/app/blobs/x", "https://b.example.com/v2/app/blobs/x"


@pytest.mark.parametrize(
    ("stderr", "subject", "host"),
    [
        (f"GET {A}: unexpected status code 503", "source", "a.example.com"),
        (f"PUT {B}: unexpected status code 503", "target", "b.example.com"),
        (f"GET {A}: PUT {B}: unexpected status code 503", "copy", None),
        ("unexpected status code 503", "copy", None),
        ("GET https://xa.example.com/v2/: unexpected status code 503", "copy", None),
        (f"PUT {B}: error verifying sha256 checksum", "source", "a.example.com"),
    ],
)
def test_an_error_of_a_copy_names_the_registry_at_fault(tmp_path: Path, stderr: str, subject: str, host: str | None) -> None:
    error = fail(tmp_path, lambda crane: crane.copy(SOURCE, TARGET), f"Error: {stderr}")
    assert (error.subject, error.host, error.detail) == (subject, host, stderr)


def test_an_error_of_a_copy_within_one_registry_names_it(tmp_path: Path) -> None:
    error = fail(tmp_path, lambda crane: crane.copy(TARGET, TARGET), "Error: odd")
    assert (error.subject, error.host, error.detail) == ("copy", "b.example.com", "odd")


def test_an_error_of_a_copy_through_a_directory_names_its_side(tmp_path: Path) -> None:
    error = fail(tmp_path, lambda crane: crane.copy(SOURCE, TARGET), "Error: odd", insecure("b.example.com"))
    assert (error.subject, error.host) == ("source", "a.example.com")


@pytest.mark.parametrize(
    ("account", "text"),
    [
        (None, "no account for b.example.com"),
        (Account("b.example.com", None, None, insecure=True), "no account for b.example.com"),
        (Account("b.example.com", "alice", "secret"), "as alice"),
    ],
)
def test_an_account_that_is_refused_is_named(tmp_path: Path, account: Account | None, text: str) -> None:
    accounts = Accounts({account.prefix: account} if account else {})
    stderr = f"Error: GET {B}: unexpected status code 401 Unauthorized"

    async def call(crane: Crane) -> None:
        if account:
            (CraneCredentials(tmp_path / "private", accounts).login_directory(account) / "config.json").write_text(
                '{"auths": {"b.example.com": {"auth": "eDp5"}}}'
            )
        await crane.digest("target", TARGET)

    error = fail(tmp_path, call, stderr, accounts)
    assert (error.account, error.status, error.kind) == (text, 401, ErrorKind.UNAUTHORIZED)
    assert str(error).endswith(f"401 Unauthorized ({text})")


def test_a_registry_without_tls_is_asked_once(tmp_path: Path) -> None:
    stderr = 'Get "https://b.example.com/v2/": http: server gave HTTP response to HTTPS client'
    advice = '; if it is meant to have no TLS, write [{"registry": "b.example.com", "insecure": true}] into accounts.json'

    async def call(crane: Crane) -> None:
        for tag in ("1", "2"):
            with pytest.raises(RegistryError) as caught:
                await crane.digest("source", Reference("b.example.com", "app", tag))
            assert (caught.value.detail, caught.value.host) == (f"{stderr}{advice}", "b.example.com")
        assert len(pids(tmp_path)) == 1
        await crane.digest("source", SOURCE)

    fail(tmp_path, call, f"Error: {stderr}")
    assert len(pids(tmp_path)) == 2


def test_what_a_token_service_says_of_its_certificate_is_not_the_registry_s(tmp_path: Path) -> None:
    async def call(crane: Crane) -> None:
        for _ in range(2):
            with pytest.raises(RegistryError, match=r"^target not trusted: "):
                await crane.digest("target", TARGET)
        await crane.digest("target", TARGET)

    fail(tmp_path, call, 'Error: Get "https://auth.example.com/token": tls: x509: unknown')
    assert len(pids(tmp_path)) == 3


def test_a_secret_is_masked_and_the_rest_of_an_error_stays(tmp_path: Path) -> None:
    accounts = Accounts({"a.io": Account("a.io", "me", "hunter22")})
    error = RegistryError("source", ErrorKind.REJECTED, "a hunter22\nb", "a.io", status=3, shared="b")
    with crane_of(tmp_path, "read -r password; exit 0", accounts=accounts) as crane:
        asyncio.run(crane.login())
        redacted = crane.redact(error)
    assert (redacted.subject, redacted.kind, redacted.detail) == ("source", ErrorKind.REJECTED, "a *** b")
    assert (redacted.host, redacted.status, redacted.shared) == ("a.io", 3, "b")
