"""The client against a server in the test, over plain HTTP unless a test is about TLS."""

import asyncio
import gc
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pycurl
import pytest
from loguru import logger
from odd_server import OddServer, Request, Write, async_test, certify, manifest, response, silence, until
from support import CRANE

from imageporter import __version__
from imageporter.model.account import Account, Accounts
from imageporter.model.reference import Reference
from imageporter.registry import client as client_module
from imageporter.registry.client import Client
from imageporter.registry.errors import ErrorKind, RegistryError

DIGEST = "sha256:" + "a" * 64
ANONYMOUS = Accounts({})
Respond = Callable[[Request], bytes | Write]


def registry(head: bytes | Respond, ping: bytes | Write | None = None) -> Respond:
    """Return how a registry responds that answers a ping with 200, and a HEAD with `head`."""

    def respond(request: Request) -> bytes | Write:
        if request.method == "GET":
            return ping or response(200, body="{}")
        return head if isinstance(head, bytes) else head(request)

    return respond


def image(address: str, path: str = "team/app", tag: str | None = "v1", digest: str | None = None) -> Reference:
    return Reference(address, path, tag, digest)


def account_for(address: str, *, insecure: bool = False) -> Accounts:
    return Accounts({address: Account(address, "alice", "p@ss:wörd", insecure)})


def client(accounts: Accounts = ANONYMOUS, ca_bundle: Path | None = None, environ: Mapping[str, str] = {}) -> Client:
    return Client(accounts, ca_bundle, environ, width=8)


async def digest_from(respond: Respond, subject: str = "source", seconds: float = 20) -> str | None:
    """Return what the client makes of a registry that responds so."""
    async with OddServer(respond) as server, client() as one:
        return await one.digest(subject, image(server.address), seconds)


def sockets() -> int:
    """Return the number of this process's sockets."""
    return sum(path.is_socket() for path in Path("/proc/self/fd").iterdir())


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of a private authority; beside it `trusted.pem`, a server's, and `unknown.pem`, another's."""
    folder = tmp_path_factory.mktemp("ca")
    for name in ("trusted", "unknown"):
        certify(folder, name)
    return folder / "trusted-ca.pem"


# What the client decides


@async_test
async def test_a_healthy_response_gives_the_digest() -> None:
    assert await digest_from(registry(manifest(DIGEST))) == DIGEST


@async_test
async def test_the_client_says_who_it_is() -> None:
    async with OddServer(registry(manifest(DIGEST))) as server, client() as one:
        await one.digest("source", image(server.address), 20)
        assert {request.headers["user-agent"] for request in server.requests} == {f"imageporter/{__version__}"}


@pytest.mark.parametrize(
    "head",
    [
        response(405),
        response(200, {"Content-Type": "application/json", "Content-Length": "300"}),
        manifest("sha256:" + "a" * 63),
        manifest("sha256:" + "A" * 64),
        manifest("sha512:" + "a" * 128),
        manifest(f"{DIGEST}\r\nDocker-Content-Digest: sha256:{'b' * 64}"),
        manifest(DIGEST, {"Content-Type": ""}),
        manifest(DIGEST, {"Content-Length": ""}),
        response(204, {"Docker-Content-Digest": DIGEST}),
        response(206, {"Docker-Content-Digest": DIGEST}),
        response(400),
        response(401, {"WWW-Authenticate": "Basic realm=x"}),
        response(403),
        response(404, {"Content-Type": "text/html"}, "<html>nothing here</html>"),
        response(500),
        response(503, {"Retry-After": "5"}),
        b"HTTP/1.1 200 OK\r\n" + b"X-Padding: " + b"x" * 1_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 two hundred\r\n\r\n",
        b"+OK POP3 server ready\r\n\r\n",
        b"\x00" * 5000,
    ],
    ids=lambda head: head[:60].decode("ascii", "replace"),
)
@async_test
async def test_crane_decides_about_every_other_response(head: bytes) -> None:
    async def write_and_hang_up(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        writer.close()

    assert await digest_from(registry(lambda _: write_and_hang_up)) is None


@async_test
async def test_a_target_that_is_missing_is_an_error_even_with_a_page_of_html() -> None:
    async with OddServer(registry(response(404, {"Content-Type": "text/html"}))) as server, client() as one:
        with pytest.raises(RegistryError) as caught:
            await one.digest("target", image(server.address), 20)
        assert caught.value.kind is ErrorKind.NOT_FOUND
        assert caught.value.host == server.address
        url = f"http://{server.address}/v2/team/app/manifests/v1"
        assert str(caught.value) == f"target not found: HEAD {url}: unexpected status code 404"


@async_test
async def test_an_image_by_digest_must_have_that_digest() -> None:
    other = "sha256:" + "b" * 64
    async with OddServer(registry(manifest(DIGEST))) as server, client() as one:
        assert await one.digest("source", image(server.address, digest=DIGEST), 20) == DIGEST
        assert await one.digest("source", image(server.address, digest=other), 20) is None
        assert [request.target[-71:] for request in server.of("HEAD")] == [DIGEST, other]


@async_test
async def test_a_redirect_is_not_followed_and_its_host_receives_nothing() -> None:
    async with OddServer(registry(manifest(DIGEST))) as other:
        location = response(307, {"Location": f"http://{other.address}/v2/team/app/manifests/v1"})
        for respond in (registry(location), registry(manifest(DIGEST), ping=location)):
            async with OddServer(respond) as server, client(account_for(server.address)) as one:
                assert await one.digest("source", image(server.address), 20) is None
                assert server.requests
        assert other.connections == 0


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("300", 300, 300),
        ("86400", 300, 300),
        ("9" * 5000, 300, 300),
        ("in a minute", 20, 60),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0, 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300, 300),
    ],
    ids=lambda value: str(value)[:30],
)
@async_test
async def test_a_rate_limit_says_when_to_retry(header: str, low: float, high: float) -> None:
    if header == "in a minute":  # from now, not from when the tests were collected
        header = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    error = await rate_limit({"Retry-After": header})
    assert error.retry_after is not None
    assert low <= error.retry_after <= high


@pytest.mark.parametrize("header", ["", "soon", "-5", "1.5", "٣", "Mon, 99 Jan 2001 00:00:00 GMT", "5\r\nRetry-After: 6"])
@async_test
async def test_a_rate_limit_may_not_say_when_to_retry(header: str) -> None:
    assert (await rate_limit({"Retry-After": header})).retry_after is None


async def rate_limit(headers: Mapping[str, str]) -> RegistryError:
    """Return the error of a registry that answers 429."""
    with pytest.raises(RegistryError) as caught:
        await digest_from(registry(response(429, headers)))
    assert caught.value.kind is ErrorKind.RATE_LIMITED
    assert caught.value.status == 429
    return caught.value


@async_test
async def test_a_ping_that_is_rate_limited_is_one_too_and_is_not_remembered() -> None:
    pings = [response(429, {"Retry-After": "7"}), response(429, {"Retry-After": "7"}), response(200)]

    def respond(request: Request) -> bytes:
        return manifest(DIGEST) if request.method == "HEAD" else pings.pop(0)

    async with OddServer(respond) as server, client() as one:
        for subject in ("source", "target"):
            with pytest.raises(RegistryError) as caught:
                await one.digest(subject, image(server.address), 20)
            assert (caught.value.subject, caught.value.kind) == (subject, ErrorKind.RATE_LIMITED)
            assert caught.value.retry_after == 7
        assert await one.digest("source", image(server.address), 20) == DIGEST


# Limits of time


@pytest.mark.parametrize("at", ["ping", "HEAD"])
@async_test
async def test_a_registry_that_never_answers_times_out(at: str) -> None:
    respond = registry(lambda _: silence) if at == "HEAD" else registry(manifest(DIGEST), ping=silence)
    async with OddServer(respond) as server, client() as one:
        started = time.monotonic()
        with pytest.raises(RegistryError) as caught:
            await one.digest("target", image(server.address), 0.7)
        assert 0.7 <= time.monotonic() - started < 2.5
        assert str(caught.value) == "target timed out: no end after 0.7 seconds (PROBE_TIMEOUT)"
        assert (caught.value.kind, caught.value.host) == (ErrorKind.TIMED_OUT, server.address)


@async_test
async def test_bytes_that_trickle_in_do_not_extend_the_limit() -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        for byte in manifest(DIGEST):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(1 / 200)

    started = time.monotonic()
    with pytest.raises(RegistryError, match=r"no end after 0\.5 seconds"):
        await digest_from(registry(lambda _: trickle), seconds=0.5)
    assert time.monotonic() - started < 2.5


@async_test
async def test_a_ping_that_timed_out_is_tried_again() -> None:
    pings: list[bytes | Write] = [silence, response(200)]

    def respond(request: Request) -> bytes | Write:
        return manifest(DIGEST) if request.method == "HEAD" else pings.pop(0)

    async with OddServer(respond) as server, client() as one:
        waiting = [one.digest("source", image(server.address), 0.6) for _ in range(5)]
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in errors] == [RegistryError] * 5
        assert len(server.of("GET")) == 1
        assert await one.digest("source", image(server.address), 20) == DIGEST


@async_test
async def test_a_registry_that_comes_up_is_found() -> None:
    async with client() as one:
        async with OddServer(registry(manifest(DIGEST))) as server:
            pass
        assert await one.digest("source", image(server.address), 20) is None
        async with OddServer(registry(manifest(DIGEST))) as server:
            assert await one.digest("source", image(server.address), 20) == DIGEST


# Requests and connections


@async_test
async def test_the_accept_header_is_that_of_crane() -> None:
    async with OddServer(registry(manifest(DIGEST))) as server, client() as one:
        reference = image(server.address)
        assert await one.digest("source", reference, 20) == DIGEST
        crane = await asyncio.create_subprocess_exec(
            str(CRANE), "digest", str(reference), env={"DOCKER_CONFIG": "/nonexistent"}, stdout=subprocess.PIPE
        )
        assert (await crane.communicate())[0].decode().strip() == DIGEST
        ours, cranes = server.of("HEAD")
        assert ours.headers["accept"] == cranes.headers["accept"]
        assert ours.target == cranes.target
        assert ours.headers["user-agent"] == f"imageporter/{__version__}"


@async_test
async def test_one_ping_serves_every_look_up() -> None:
    async with OddServer(registry(manifest(DIGEST))) as server, client() as one:
        waiting = [one.digest("source", image(server.address, f"team/app{number}"), 20) for number in range(50)]
        assert await asyncio.gather(*waiting) == [DIGEST] * 50
        assert len(server.of("GET")) == 1
        assert len(server.of("HEAD")) == 50


@async_test
async def test_connections_are_kept_and_limited_to_the_width() -> None:
    async with OddServer(registry(manifest(DIGEST))) as server, client() as one:
        waiting = [one.digest("source", image(server.address), 20) for _ in range(200)]
        assert await asyncio.gather(*waiting) == [DIGEST] * 200
        assert server.connections <= 8 + 2  # the client's width, and the pings

        await one.digest("source", image(server.address), 20)
        assert server.connections <= 8 + 2


@async_test
async def test_an_odd_ping_is_remembered() -> None:
    async with OddServer(registry(manifest(DIGEST), ping=response(404))) as server, client() as one:
        for _ in range(3):
            assert await one.digest("source", image(server.address), 20) is None
        assert [request.method for request in server.requests] == ["GET"]


@async_test
async def test_a_ping_that_failed_for_now_is_not_remembered() -> None:
    pings = [response(503), response(200)]

    def respond(request: Request) -> bytes:
        return manifest(DIGEST) if request.method == "HEAD" else pings.pop(0)

    async with OddServer(respond) as server, client() as one:
        assert await one.digest("source", image(server.address), 20) is None
        assert await one.digest("source", image(server.address), 20) == DIGEST


@async_test
async def test_a_ping_with_a_giant_body_is_cut_off() -> None:
    written = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x" * 100_000)
            await writer.drain()
            written += 100_000

    assert await digest_from(registry(manifest(DIGEST), ping=flood)) is None
    assert written < 20_000_000


@async_test
async def test_informational_responses_are_skipped() -> None:
    hints = f"HTTP/1.1 103 Early Hints\r\nDocker-Content-Digest: sha256:{'b' * 64}\r\n\r\n".encode()
    assert await digest_from(registry(hints + manifest(DIGEST))) == DIGEST


@async_test
async def test_a_cancelled_look_up_leaves_nothing_behind_and_others_go_on() -> None:
    def head(request: Request) -> bytes | Write:
        return silence if "slow" in request.target else manifest(DIGEST)

    before = sockets()
    async with OddServer(registry(head)) as server, client() as one:
        waiting = [asyncio.create_task(one.digest("source", image(server.address, "slow/app"), 20)) for _ in range(8)]
        await until(lambda: len(server.of("HEAD")) == 8)
        for task in waiting:
            task.cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        # All places at this host were taken. They are free again.
        assert await one.digest("source", image(server.address), 5) == DIGEST
    await until(lambda: sockets() == before)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@async_test
async def test_close_ends_the_requests_under_way() -> None:
    before = sockets()
    async with OddServer(registry(lambda _: silence, ping=silence)) as server:
        one = client()
        waiting = asyncio.create_task(one.digest("source", image(server.address), 20))
        await until(lambda: bool(server.requests))
        await one.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await until(lambda: sockets() == before)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@async_test
async def test_a_look_up_that_leaves_a_shared_ping_does_not_end_it() -> None:
    answer = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await answer.wait()
        writer.write(response(200))

    async with OddServer(registry(manifest(DIGEST), ping=late)) as server, client() as one:
        first, second = (asyncio.create_task(one.digest("source", image(server.address), 20)) for _ in range(2))
        await until(lambda: bool(server.requests))
        first.cancel()
        answer.set()
        assert await second == DIGEST
        assert len(server.of("GET")) == 1


@async_test
async def test_a_shared_ping_that_fails_after_everyone_left_is_no_error() -> None:
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    answer = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await answer.wait()
        writer.write(response(429))

    async with OddServer(registry(manifest(DIGEST), ping=late)) as server, client() as one:
        waiting = asyncio.create_task(one.digest("source", image(server.address), 20))
        await until(lambda: bool(server.requests))
        waiting.cancel()
        tasks = len(asyncio.all_tasks())
        answer.set()
        await until(lambda: len(asyncio.all_tasks()) < tasks - 1)
        gc.collect()
    assert unhandled == []


# TLS and plain HTTP


@async_test
async def test_a_private_authority_is_trusted_through_the_bundle(ca: Path) -> None:
    async with OddServer(registry(manifest(DIGEST)), ca.with_name("trusted.pem")) as server:
        async with client(ca_bundle=ca) as one:
            assert await one.digest("source", image(server.address), 20) == DIGEST
        assert server.requests


@pytest.mark.parametrize("bundle", [True, False])
@async_test
async def test_an_unknown_certificate_gets_no_request_unless_the_account_is_insecure(ca: Path, bundle: bool) -> None:  # noqa: FBT001
    async with OddServer(registry(manifest(DIGEST)), ca.with_name("unknown.pem")) as server:
        async with client(account_for(server.address), ca if bundle else None) as one:
            assert await one.digest("source", image(server.address), 20) is None
        assert not server.requests
        async with client(account_for(server.address, insecure=True), ca if bundle else None) as one:
            assert await one.digest("source", image(server.address), 20) == DIGEST


@async_test
async def test_a_certificate_of_another_host_is_unknown_too(tmp_path: Path) -> None:
    certificate = certify(tmp_path, "other", ["registry.test"])
    async with OddServer(registry(manifest(DIGEST)), certificate) as server:
        async with client(account_for(server.address), tmp_path / "other-ca.pem") as one:
            assert await one.digest("source", image(server.address), 20) is None
        assert not server.requests
        async with client(account_for(server.address, insecure=True), tmp_path / "other-ca.pem") as one:
            assert await one.digest("source", image(server.address), 20) == DIGEST


@async_test
async def test_an_insecure_account_is_insecure_for_its_namespace_only(ca: Path) -> None:
    async with OddServer(registry(manifest(DIGEST)), ca.with_name("unknown.pem")) as server:
        accounts = Accounts({f"{server.address}/team": Account(f"{server.address}/team", None, None, insecure=True)})
        async with client(accounts, ca) as one:
            assert await one.digest("source", image(server.address, "team/app"), 20) == DIGEST
            assert await one.digest("source", image(server.address, "other/app"), 20) is None
            assert await one.digest("source", image(server.address, "team/app"), 20) == DIGEST


@async_test
async def test_plain_http_is_not_tried_with_a_public_name() -> None:
    """`registry.test` is 127.0.0.1 to the proxy only, so that neither crane's rules nor ours know it."""
    async with OddServer(registry(manifest(DIGEST))) as proxy:
        environ = {"HTTP_PROXY": f"http://{proxy.address}", "HTTPS_PROXY": f"http://{proxy.address}"}
        for accounts, methods in (
            (ANONYMOUS, {"CONNECT"}),
            (account_for("registry.test", insecure=True), {"CONNECT", "GET", "HEAD"}),
        ):
            proxy.requests.clear()
            async with client(accounts, environ=environ) as one:
                assert (await one.digest("source", image("registry.test"), 20) == DIGEST) == (len(methods) > 1)
            assert {request.method for request in proxy.requests} == methods


@pytest.mark.parametrize(
    ("host", "tunnel"),
    [("docker.io", "registry-1.docker.io:443"), ("ghcr.io", "ghcr.io:443"), ("registry.test:5000", "registry.test:5000")],
)
@async_test
async def test_each_registry_is_queried_at_its_own_address(host: str, tunnel: str) -> None:
    async with OddServer(lambda _: response(502)) as proxy, client(environ={"https_proxy": proxy.address}) as one:
        assert await one.digest("source", image(host), 20) is None
        assert [(request.method, request.target) for request in proxy.requests] == [("CONNECT", tunnel)]


@async_test
async def test_only_the_given_variables_name_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with OddServer(registry(manifest(DIGEST))) as server, OddServer(lambda _: response(502)) as proxy:
        for name in ("http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        async with client() as one:
            assert await one.digest("source", image(server.address), 20) == DIGEST
            assert await one.digest("source", image("registry.invalid"), 20) is None
        monkeypatch.setenv("no_proxy", "registry.invalid")
        async with client(environ={"HTTPS_PROXY": proxy.address}) as one:
            assert proxy.connections == 0
            assert await one.digest("source", image("registry.invalid"), 20) is None
            assert proxy.connections == 1


@pytest.mark.parametrize(
    "proxy", ["nowhere.invalid:1", "http://127.0.0.1:1", "ftp://127.0.0.1:1", "http://pr\u00f6xy:1", "\udcff", ":", " "]
)
@async_test
async def test_a_proxy_that_does_not_work_leaves_it_to_crane(proxy: str) -> None:
    async with client(environ={"HTTPS_PROXY": proxy}) as one:
        assert await one.digest("target", image("registry.test"), 20) is None


@async_test
async def test_https_that_hangs_does_not_hold_up_plain_http() -> None:
    """Some servers of plain HTTP wait for the end of a line, which a TLS handshake may not have."""
    async with OddServer(registry(manifest(DIGEST)), mute_to_tls=True) as server, client() as one:
        started = time.monotonic()
        assert await one.digest("source", image(server.address), 20) == DIGEST
        assert time.monotonic() - started < 5


# Secrets


@async_test
async def test_an_account_goes_to_its_registry_and_namespace_only() -> None:
    async with OddServer(registry(manifest(DIGEST))) as server, OddServer(registry(manifest(DIGEST))) as other:
        accounts = Accounts({f"{server.address}/team": Account(f"{server.address}/team", "alice", "secret")})
        async with client(accounts) as one:
            for reference in (image(server.address, "team/app"), image(server.address, "teams/app"), image(other.address)):
                assert await one.digest("source", reference, 20) == DIGEST
        ping, first, second = server.requests
        assert (ping.authorization, first.authorization, second.authorization) == (None, "Basic YWxpY2U6c2VjcmV0", None)
        assert {request.authorization for request in other.requests} == {None}


@async_test
async def test_a_request_does_not_carry_the_account_of_the_one_before() -> None:
    """Handles are used again. pycurl takes an empty list of headers for none to set."""
    challenge = {"WWW-Authenticate": 'Bearer realm="http://localhost:1/token"'}
    async with OddServer(registry(manifest(DIGEST))) as server, OddServer(lambda _: response(401, challenge)) as other:
        async with client(account_for(server.address)) as one:
            assert await one.digest("source", image(server.address), 20) == DIGEST
            assert await one.digest("source", image(other.address), 20) is None
        assert server.requests[-1].authorization
        assert [request.authorization for request in other.requests] == [None]


@async_test
async def test_no_log_line_or_error_holds_a_secret() -> None:
    lines: list[str] = []
    logger.add(lines.append, level="TRACE", format="{message}")
    async with OddServer(registry(response(404))) as server, client(account_for(server.address)) as one:
        with pytest.raises(RegistryError) as caught:
            await one.digest("target", image(server.address), 20)
        assert server.of("HEAD")[0].authorization
        url = f"http://{server.address}/v2/"
        assert lines == [
            f"+ GET {url.replace('http', 'https')} -> curl error 35\n",
            f"+ GET {url} -> 200\n",
            f"+ HEAD {url}team/app/manifests/v1 -> 404\n",
        ]
        for text in (*lines, str(caught.value), repr(caught.value), repr(vars(one))):
            assert "p@ss" not in text
            assert "YWxpY2U6" not in text


# Requests for anything but a digest


@pytest.mark.parametrize("status", [400, 404, 405, 406, 501])
@async_test
async def test_an_api_that_is_not_there_is_no_error(status: int) -> None:
    async with OddServer(lambda _: response(200) if _.target == "/v2/" else response(status)) as server, client() as one:
        assert await one.get("target", image(server.address), "referrers/x", 20) is None
        assert [request.target for request in server.requests] == ["/v2/", "/v2/team/app/referrers/x"]


@async_test
async def test_the_body_of_a_response_is_returned_and_so_are_its_headers() -> None:
    def respond(request: Request) -> bytes | Write:
        return response(200, {"X-One": "1", "RateLimit-Remaining": "7;w=60"}, body=request.target)

    async with OddServer(respond) as server, client() as one:
        found = await one.get("target", image(server.address), "referrers/x", 20)
        assert found is not None
        assert (found.status, found.body, found.header("x-one")) == (200, b"/v2/team/app/referrers/x", "1")
        assert found.request == f"GET http://{server.address}/v2/team/app/referrers/x"
        assert one.pulls_left == {server.address: 7}


@pytest.mark.parametrize(("status", "kind"), [(403, ErrorKind.DENIED), (429, ErrorKind.RATE_LIMITED), (500, ErrorKind.OTHER)])
@async_test
async def test_any_other_status_is_an_error(status: int, kind: ErrorKind) -> None:
    def respond(request: Request) -> bytes | Write:
        return response(200) if request.target == "/v2/" else response(status, {"Retry-After": "7"})

    async with OddServer(respond) as server, client() as one:
        with pytest.raises(RegistryError) as caught:
            await one.get("target", image(server.address), "referrers/x", 20)
        assert (caught.value.subject, caught.value.kind, caught.value.status) == ("target", kind, status)
        assert (caught.value.host, caught.value.retry_after) == (server.address, 7)


@async_test
async def test_a_get_without_a_clear_response_is_an_error() -> None:
    async with OddServer(lambda _: response(404)) as server, client() as one:
        with pytest.raises(RegistryError) as caught:
            await one.get("source", image(server.address), "referrers/x", 20)
        text = f"source failed: GET {server.address}/team/app: referrers/x: there was no clear response"
        assert (str(caught.value), caught.value.host) == (text, server.address)


@pytest.mark.parametrize(
    ("tag", "digest", "name"), [(None, None, "latest"), ("v1", None, "v1"), ("v1", DIGEST, DIGEST), (None, DIGEST, DIGEST)]
)
@async_test
async def test_a_look_up_is_of_the_digest_before_the_tag(tag: str | None, digest: str | None, name: str) -> None:
    async with OddServer(registry(manifest(DIGEST))) as server, client() as one:
        assert await one.digest("source", image(server.address, tag=tag, digest=digest), 20) == DIGEST
        assert [request.target for request in server.of("HEAD")] == [f"/v2/team/app/manifests/{name}"]


@async_test
async def test_the_length_of_a_manifest_does_not_limit_its_look_up() -> None:
    length = str(client_module.LARGEST_BODY + 1)
    assert await digest_from(registry(manifest(DIGEST, {"Content-Length": length}))) == DIGEST


@async_test
async def test_a_server_without_http_2_is_remembered(ca: Path) -> None:
    async with OddServer(registry(manifest(DIGEST)), ca.with_name("trusted.pem")) as server, client(ca_bundle=ca) as one:
        transport = one._transport  # noqa: SLF001
        performed: list[object] = []
        for connections in (transport._http1, transport._http2):  # noqa: SLF001
            perform = connections.perform

            async def record(*arguments: Any, used: object = connections, perform: Any = perform, **options: Any) -> Any:
                performed.append(used)
                return await perform(*arguments, **options)

            connections.perform = record  # type: ignore[method-assign]
        assert await one.digest("source", image(server.address), 20) == DIGEST
        assert performed == [transport._http2, transport._http1]  # noqa: SLF001


@async_test
async def test_connections_that_may_be_dead_are_replaced_and_closed_when_nothing_runs_over_them() -> None:
    async with client() as one:
        transport = one._transport  # noqa: SLF001
        closed: list[object] = []
        running = transport._http2  # noqa: SLF001
        running.running = 1
        for _ in range(client_module.MAX_RETIRED + 3):
            current = transport._http2  # noqa: SLF001

            def close(current: Any = current, close: Any = current.close) -> None:
                closed.append(current)
                close()

            current.close = close  # type: ignore[method-assign]
            transport._retire(current)  # noqa: SLF001
            assert transport._http2 is not current  # noqa: SLF001
        assert len(closed) == 3
        assert running not in closed
        assert len(transport._retired) == client_module.MAX_RETIRED  # noqa: SLF001
        kept = transport._http2  # noqa: SLF001
        transport._retire(transport._http1)  # noqa: SLF001
        transport._retire(running)  # noqa: SLF001
        assert transport._http2 is kept  # noqa: SLF001


@async_test
async def test_responses_that_libcurl_has_forgotten_are_read_while_requests_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "READ_AGAIN_SECONDS", 0.01)
    answer = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await answer.wait()
        writer.write(manifest(DIGEST))

    async with OddServer(registry(lambda _: late)) as server, client() as one:
        multi = one._transport._http1._multi  # noqa: SLF001
        drive, driven = multi._drive, []  # noqa: SLF001

        def record(socket: int, events: int) -> None:
            driven.append(events)
            drive(socket, events)

        waiting = asyncio.create_task(one.digest("source", image(server.address), 20))
        await until(lambda: bool(server.of("HEAD")))
        monkeypatch.setattr(multi, "_drive", record)
        await until(lambda: len(driven) > 5)
        assert one._transport._http1.running == 1  # noqa: SLF001
        answer.set()
        assert await waiting == DIGEST
        assert one._transport._http1.running == 0  # noqa: SLF001
        assert pycurl.CSELECT_IN in driven
        await until(lambda: multi._read_again is None)  # noqa: SLF001
