"""Authentication by the client, against registries and token services in the test."""

import asyncio
import json
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from odd_server import OddServer, Request, Write, async_test, certify, manifest, response, silence, until

from imageporter.model.account import Account, Accounts
from imageporter.model.reference import Reference
from imageporter.registry.client import Client
from imageporter.registry.errors import ErrorKind, RegistryError

DIGEST = "sha256:" + "a" * 64
ALICE = "Basic YWxpY2U6c2VjcmV0"
Respond = Callable[[Request], bytes | Write]


class TokenRegistry:
    """A registry and its token service on one host. It accepts the tokens that it gave, until they are revoked."""

    def __init__(self, challenge: str = 'Bearer realm="{origin}/token",service="registry.test"', **token: Any) -> None:
        self.challenge = challenge
        self.token = token
        self.valid: set[str] = set()
        self.given = 0
        self.origin = ""
        self.respond_to_token: Respond = self.give_token

    def __call__(self, request: Request) -> bytes | Write:
        if request.target.startswith("/token"):
            return self.respond_to_token(request)
        scheme, _, credentials = (request.authorization or "").partition(" ")
        if scheme == "Bearer" and credentials in self.valid:
            return manifest(DIGEST)
        return response(401, {"WWW-Authenticate": self.challenge.format(origin=self.origin)})

    def give_token(self, _: Request) -> bytes:
        self.given += 1
        self.valid.add(f"token{self.given}")
        return response(200, body=json.dumps({"token": f"token{self.given}", "expires_in": 300} | self.token))


def image(server: OddServer, path: str = "team/app") -> Reference:
    return Reference(server.address, path, "v1")


def alice(prefix: str, *, insecure: bool = False) -> Accounts:
    return Accounts({prefix: Account(prefix, "alice", "secret", insecure)})


def client(accounts: Accounts | None = None, ca_bundle: Path | None = None) -> Client:
    return Client(accounts or Accounts({}), ca_bundle, {}, width=32)


async def token_requests_of(registry: TokenRegistry, expected: str | None, look_ups: int = 1) -> list[Request]:
    """Look up with an account, expect the digest `expected` each time, and return the requests for tokens."""
    async with OddServer(registry) as server, client(alice(server.address)) as one:
        registry.origin = f"http://{server.address}"
        for _ in range(look_ups):
            assert await one.digest("source", image(server), 20) == expected
        return server.of("GET", "/token")


# Tokens


@async_test
async def test_one_token_serves_a_hundred_look_ups_of_a_repository() -> None:
    registry = TokenRegistry()
    async with OddServer(registry) as server, client(alice(server.address)) as one:
        registry.origin = f"http://{server.address}"
        waiting = [one.digest("source", image(server), 20) for _ in range(100)]
        assert await asyncio.gather(*waiting) == [DIGEST] * 100
        [request] = server.of("GET", "/token")
        assert urllib.parse.parse_qs(request.target.partition("?")[2]) == {
            "scope": ["repository:team/app:pull"],
            "service": ["registry.test"],
        }
        assert request.authorization == ALICE
        assert len(server.of("HEAD")) == 100


@async_test
async def test_each_repository_has_a_token_of_its_own() -> None:
    registry = TokenRegistry()
    async with OddServer(registry) as server, client() as one:
        registry.origin = f"http://{server.address}"
        for path in ("team/one", "team/two", "team/one"):
            assert await one.digest("source", image(server, path), 20) == DIGEST
        scopes = [urllib.parse.unquote(request.target) for request in server.of("GET", "/token")]
        assert [scope.partition("scope=")[2] for scope in scopes] == [
            "repository:team/one:pull&service=registry.test",
            "repository:team/two:pull&service=registry.test",
        ]
        assert [request.authorization for request in server.of("HEAD")] == ["Bearer token1", "Bearer token2", "Bearer token1"]


@async_test
async def test_without_an_account_the_token_is_anonymous() -> None:
    registry = TokenRegistry()
    async with OddServer(registry) as server, client() as one:
        registry.origin = f"http://{server.address}"
        assert await one.digest("source", image(server), 20) == DIGEST
        assert [request.authorization for request in server.of("GET")] == [None] * 2


@pytest.mark.parametrize("empty", [("", "secret"), ("alice", ""), (None, None)])
@async_test
async def test_an_account_without_name_or_password_is_anonymous(empty: tuple[str | None, str | None]) -> None:
    registry = TokenRegistry()
    async with OddServer(registry) as server:
        registry.origin = f"http://{server.address}"
        async with client(Accounts({server.address: Account(server.address, *empty)})) as one:
            assert await one.digest("source", image(server), 20) == DIGEST
        assert {request.authorization for request in server.requests} == {None, "Bearer token1"}


@pytest.mark.parametrize(
    "token",
    [
        {"access_token": "token1", "token": None},
        {"access_token": "token1", "token": ""},
        {"access_token": "token1", "token": "another"},  # crane prefers it
        {"access_token": None},
        {"expires_in": None},
        {"expires_in": 0},
        {"expires_in": -1},
        {"expires_in": 10**30},
    ],
    ids=str,
)
@async_test
async def test_a_token_is_read_as_crane_reads_it(token: dict[str, Any]) -> None:
    assert len(await token_requests_of(TokenRegistry(**token), DIGEST, look_ups=3)) == 1


@async_test
async def test_a_token_is_renewed_when_it_expires() -> None:
    registry = TokenRegistry(expires_in=1)
    async with OddServer(registry) as server, client() as one:
        registry.origin = f"http://{server.address}"
        while registry.given < 2:
            assert await one.digest("source", image(server), 20) == DIGEST
        assert len(server.of("HEAD")) > 5
        assert {request.authorization for request in server.of("HEAD")} == {"Bearer token1", "Bearer token2"}


@async_test
async def test_a_token_that_the_registry_forgot_is_renewed_once_for_all() -> None:
    registry = TokenRegistry()
    async with OddServer(registry) as server, client() as one:
        registry.origin = f"http://{server.address}"
        assert await one.digest("source", image(server), 20) == DIGEST
        registry.valid.clear()
        waiting = [one.digest("source", image(server), 20) for _ in range(30)]
        assert await asyncio.gather(*waiting) == [DIGEST] * 30
        assert registry.given == 2


@async_test
async def test_a_refusal_that_arrives_late_does_not_discard_the_new_token() -> None:
    registry = TokenRegistry()
    renewed = asyncio.Event()

    def respond(request: Request) -> bytes | Write:
        async def late(writer: asyncio.StreamWriter) -> None:
            await renewed.wait()
            writer.write(response(401))

        if "late" in request.target and request.authorization == "Bearer token1":
            return late
        return registry(request)

    async with OddServer(respond) as server, client() as one:
        registry.origin = f"http://{server.address}"
        assert await one.digest("source", image(server), 20) == DIGEST
        registry.valid.clear()
        late = asyncio.create_task(one.digest("source", Reference(server.address, "team/app", "late"), 20))
        await until(lambda: bool(server.of("HEAD", "late")))
        assert await one.digest("source", image(server), 20) == DIGEST
        renewed.set()
        assert await late == DIGEST
        assert registry.given == 2


@async_test
async def test_a_renewed_token_that_is_refused_is_the_end() -> None:
    registry = TokenRegistry()
    async with OddServer(registry) as server, client() as one:
        registry.origin = f"http://{server.address}"
        assert await one.digest("source", image(server), 20) == DIGEST
        registry.valid.clear()
        registry.respond_to_token = lambda _: response(200, body='{"token": "useless"}')
        assert await one.digest("source", image(server), 20) is None
        assert len(server.of("GET", "/token")) == 2
        assert [request.authorization for request in server.of("HEAD")] == ["Bearer token1"] * 2 + ["Bearer useless"]


@async_test
async def test_a_new_token_that_is_refused_is_not_renewed() -> None:
    registry = TokenRegistry()
    registry.respond_to_token = lambda _: response(200, body='{"token": "useless"}')
    assert len(await token_requests_of(registry, None)) == 1


# Services that give no token


async def flood(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\n\r\n{"token": "')
    for _ in range(1000):
        writer.write(b"x" * 100_000)
        await writer.drain()


@pytest.mark.parametrize(
    "answer",
    [
        response(401, body='{"errors": [{"code": "UNAUTHORIZED"}]}'),
        response(403),
        response(500),
        response(200),
        response(200, body="<html>"),
        response(200, body="[]"),
        response(200, body='"token"'),
        response(200, body="{}"),
        response(200, body='{"token": 5}'),
        response(200, body='{"token": ["x"]}'),
        response(200, body='{"token": "a\\r\\nX-Injected: yes"}'),
        response(200, body='{"token": "white space"}'),
        response(200, body='{"token": "t\u00f6ken"}'),
        response(200, body='{"token": "x", "expires_in": "300"}'),
        response(200, body='{"token": "x", "expires_in": 1.5}'),
        response(200, body='{"token": "x", "expires_in": true}'),
        response(200, body="[" * 200_000),
        response(200, body='{"token": "x", "padding": "' + "x" * 1_100_000 + '"}'),
        b"HTTP/1.1 200 OK\r\n\r\n",
        flood,
    ],
    ids=lambda answer: answer[-40:].decode() if isinstance(answer, bytes) else "flood",
)
@async_test
async def test_a_token_service_that_gives_no_token_leaves_it_to_crane(answer: bytes | Write) -> None:
    async def write_and_hang_up(writer: asyncio.StreamWriter) -> None:
        if isinstance(answer, bytes):
            writer.write(answer)
        else:
            await answer(writer)
        writer.close()

    registry = TokenRegistry()
    registry.respond_to_token = lambda _: write_and_hang_up
    async with OddServer(registry) as server, client(alice(server.address)) as one:
        registry.origin = f"http://{server.address}"
        assert await one.digest("target", image(server), 20) is None
        assert not server.of("HEAD")
        # It is not held against the registry for ever.
        registry.respond_to_token = registry.give_token
        assert await one.digest("target", image(server), 20) == DIGEST


@async_test
async def test_a_token_service_that_is_rate_limited_is_a_rate_limit_of_the_registry() -> None:
    registry = TokenRegistry()
    registry.respond_to_token = lambda _: response(429, {"Retry-After": "30"})
    async with OddServer(registry) as server, client() as one:
        registry.origin = f"http://{server.address}"
        with pytest.raises(RegistryError) as caught:
            await one.digest("source", image(server), 20)
        assert (caught.value.kind, caught.value.host, caught.value.retry_after) == (
            ErrorKind.RATE_LIMITED,
            server.address,
            30,
        )


@async_test
async def test_a_token_service_that_never_answers_times_out() -> None:
    registry = TokenRegistry()
    registry.respond_to_token = lambda _: silence
    async with OddServer(registry) as server, client() as one:
        registry.origin = f"http://{server.address}"
        with pytest.raises(RegistryError, match="no end after 0.5 seconds"):  # noqa: RUF043
            await one.digest("source", image(server), 0.5)


# Realms


@async_test
async def test_the_query_of_a_realm_is_kept() -> None:
    registry = TokenRegistry('Bearer realm="{origin}/token?account=a%20b&scope=all&service=x",service="s"')
    [request] = await token_requests_of(registry, DIGEST)
    assert request.target == "/token?account=a+b&scope=repository%3Ateam%2Fapp%3Apull&service=s"


@async_test
async def test_a_realm_on_another_host_gets_the_account_and_nothing_else_does() -> None:
    registry = TokenRegistry()
    service = TokenRegistry()
    service.valid = registry.valid
    async with OddServer(registry) as server, OddServer(service) as realm, client(alice(server.address)) as one:
        registry.origin = f"http://localhost:{realm.port}"
        assert await one.digest("source", image(server), 20) == DIGEST
        assert [request.authorization for request in realm.requests] == [ALICE]
        assert [request.authorization for request in server.requests] == [None, "Bearer token1"]


@async_test
async def test_an_anonymous_token_request_does_not_carry_the_token_or_account_before_it() -> None:
    first, second = TokenRegistry(), TokenRegistry()
    async with OddServer(first) as server, OddServer(second) as other, client(alice(server.address)) as one:
        first.origin, second.origin = f"http://{server.address}", f"http://{other.address}"
        for _ in range(2):
            assert await one.digest("source", image(server), 20) == DIGEST
            assert await one.digest("source", image(other), 20) == DIGEST
            second.valid.clear()
        assert {request.authorization for request in server.requests} == {None, ALICE, "Bearer token1"}
        assert {request.authorization for request in other.of("GET")} == {None}


@async_test
async def test_a_realm_that_redirects_is_not_followed() -> None:
    registry, service = TokenRegistry(), TokenRegistry()
    async with OddServer(registry) as server, OddServer(service) as other, client(alice(server.address)) as one:
        registry.origin = f"http://{server.address}"
        registry.respond_to_token = lambda _: response(307, {"Location": f"http://localhost:{other.port}/token"})
        assert await one.digest("source", image(server), 20) is None
        assert other.connections == 0


@pytest.mark.parametrize("realm", ["http://127.0.0.1:{other}/token", "http://[::1]:{other}/token", "/token", "//{other}"])
@async_test
async def test_a_realm_that_crane_refuses_receives_nothing(realm: str) -> None:
    async with OddServer(TokenRegistry()) as other:
        registry = TokenRegistry(f'Bearer realm="{realm.format(other=other.port)}"')
        async with OddServer(registry) as server, client(alice(server.address)) as one:
            for _ in range(2):
                assert await one.digest("source", image(server), 20) is None
            assert [request.target for request in server.requests] == ["/v2/"]
        assert other.connections == 0


@async_test
async def test_an_insecure_account_trusts_its_registry_and_no_other_token_service(tmp_path: Path) -> None:
    certificate = certify(tmp_path, "unknown")
    registry, service = TokenRegistry(), TokenRegistry()
    service.valid = registry.valid
    async with OddServer(registry, certificate) as server, OddServer(service, certificate) as realm:
        accounts = alice(server.address, insecure=True)
        registry.origin = f"https://localhost:{realm.port}"
        async with client(accounts) as one:
            assert await one.digest("source", image(server), 20) is None
        assert not realm.requests

        registry.origin = f"https://{server.address}"
        async with client(accounts) as one:
            assert await one.digest("source", image(server), 20) == DIGEST


@async_test
async def test_a_token_service_is_trusted_through_the_bundle(tmp_path: Path) -> None:
    certificate = certify(tmp_path, "trusted")
    registry, service = TokenRegistry(), TokenRegistry()
    service.valid = registry.valid
    async with OddServer(registry, certificate) as server, OddServer(service, certificate) as realm:
        registry.origin = f"https://localhost:{realm.port}"
        async with client(alice(server.address), tmp_path / "trusted-ca.pem") as one:
            assert await one.digest("source", image(server), 20) == DIGEST
        assert [request.authorization for request in realm.requests] == [ALICE]


@async_test
async def test_a_registry_with_tls_may_not_name_a_realm_without(tmp_path: Path) -> None:
    certificate = certify(tmp_path, "trusted")
    async with OddServer(TokenRegistry()) as realm:
        registry = TokenRegistry(f'Bearer realm="http://localhost:{realm.port}/token"')
        bundle = tmp_path / "trusted-ca.pem"
        async with OddServer(registry, certificate) as server, client(alice(server.address), bundle) as one:
            assert await one.digest("source", image(server), 20) is None
            assert server.requests
        assert realm.connections == 0


# Other challenges


def guarded_by(*challenges: str) -> Respond:
    """Return how a registry responds that wants alice's account, with these challenges."""

    def respond(request: Request) -> bytes:
        if request.authorization == ALICE:
            return manifest(DIGEST)
        return response(401, {"WWW-Authenticate": "\r\nWWW-Authenticate: ".join(challenges)})

    return respond


@pytest.mark.parametrize(
    "challenges",
    [
        ["Basic"],
        ["basic realm=test"],
        ['BASIC realm="Registry Realm", charset="UTF-8"'],
        ["Negotiate", 'Basic realm="x"'],
        ['Basic realm="x"', 'Bearer realm="http://localhost:1/token"'],
    ],
    ids=str,
)
@async_test
async def test_basic_authentication_sends_the_account_but_not_to_the_ping(challenges: list[str]) -> None:
    async with OddServer(guarded_by(*challenges)) as server:
        async with client(alice(server.address)) as one:
            assert await one.digest("source", image(server), 20) == DIGEST
            assert [request.authorization for request in server.requests] == [None, ALICE]
        async with client() as one:
            assert await one.digest("source", image(server), 20) is None


@pytest.mark.parametrize(
    "challenges",
    [[""], ["Negotiate"], ["Basically"], ["Bearer"], ['Bearer service="x"'], ['Digest realm="x"'], ['"Basic"'], [" , Basic"]],
    ids=str,
)
@async_test
async def test_crane_decides_about_odd_challenges(challenges: list[str]) -> None:
    async with OddServer(guarded_by(*challenges)) as server, client(alice(server.address)) as one:
        for _ in range(2):
            assert await one.digest("source", image(server), 20) is None
        assert [request.authorization for request in server.requests] == [None]


@async_test
async def test_a_registry_without_challenge_gets_the_account_as_from_crane() -> None:
    """Some registries answer every ping with 200, and want the account for their private repositories."""

    def respond(request: Request) -> bytes:
        if request.method == "GET":
            return response(200)
        return manifest(DIGEST) if request.authorization == ALICE else response(401)

    async with OddServer(respond) as server, client(alice(server.address)) as one:
        assert await one.digest("source", image(server), 20) == DIGEST


@async_test
async def test_the_account_with_the_longest_prefix_is_sent() -> None:
    async with OddServer(lambda _: response(401, {"WWW-Authenticate": "Basic"})) as server:
        prefixes = [server.address, f"{server.address}/a", f"{server.address}/a/b"]
        accounts = Accounts({prefix: Account(prefix, "user", str(number)) for number, prefix in enumerate(prefixes)})
        async with client(accounts) as one:
            for path in ("x/app", "a/app", "a/b/app", "a/bc/app", "a/b"):
                await one.digest("source", image(server, path), 20)
        sent = [request.authorization for request in server.of("HEAD")]
        zero, first, second = "Basic dXNlcjow", "Basic dXNlcjox", "Basic dXNlcjoy"
        assert sent == [zero, first, second, first, second]
