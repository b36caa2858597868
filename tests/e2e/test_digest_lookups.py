"""The client against distribution: htpasswd, tokens, two accounts on one host, and a proxy. crane is the judge."""

import asyncio
import base64
import collections
import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import bcrypt
import pytest
from odd_server import Connections, async_test, certify
from support import CRANE, REGISTRY_BINARY, Registry, free_port, log_of, start, wait_for
from token_server import ISSUER, SERVICE, TokenServer

from imageporter.model.account import Account, Accounts
from imageporter.model.reference import Reference
from imageporter.registry.client import Client
from imageporter.registry.errors import ErrorKind, RegistryError

ALICE, BOB = ("alice", "p@ss:wörd"), ("bob", "b0b's")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server's certificate for 127.0.0.1, localhost and registry.test; beside it its key and `server-ca.pem`."""
    return certify(tmp_path_factory.mktemp("certificate"))


@contextmanager
def distribution(folder: Path, certificate: Path, authentication: str, account: tuple[str, str]) -> Iterator[Registry]:
    """Run distribution with TLS and logged access; `account` is that of the test's own crane."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    (folder / "config.yml").write_text(f"""
version: 0.1
log: {{level: info, formatter: json}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
auth: {authentication}
http:
  addr: 127.0.0.1:{port}
  tls: {{certificate: {certificate}, key: {certificate.with_suffix(".key")}}}
""")
    log = folder / "log"
    with start([str(REGISTRY_BINARY), "serve", str(folder / "config.yml")], log, env={"OTEL_TRACES_EXPORTER": "none"}):
        wait_for(lambda: "listening on" in log_of(log), f"distribution: {log}")
        registry = Registry(f"127.0.0.1:{port}", folder / "docker", account, certificate.with_name("server-ca.pem"))
        registry.login()
        yield registry


@pytest.fixture
def htpasswd(tmp_path: Path, certificate: Path) -> Iterator[Registry]:
    """A registry with the accounts alice and bob."""
    lines = [
        f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)).decode()}\n" for name, password in (ALICE, BOB)
    ]
    (tmp_path / "htpasswd").write_text("".join(lines))
    with distribution(
        tmp_path / "htpasswd-registry", certificate, f"{{htpasswd: {{realm: test, path: {tmp_path}/htpasswd}}}}", ALICE
    ) as registry:
        yield registry


@pytest.fixture
def tokens(certificate: Path) -> Iterator[TokenServer]:
    """A token service: alice has `team` and `public`, bob has `other`, everyone may pull from `public`."""
    accounts = {"": ("", ["public"]), ALICE[0]: (ALICE[1], ["team", "public"]), BOB[0]: (BOB[1], ["other"])}
    with TokenServer(accounts).serve(certificate) as server:
        yield server


@pytest.fixture
def token_registry(tmp_path: Path, certificate: Path, tokens: TokenServer) -> Iterator[Registry]:
    """A registry that trusts `tokens`. It is 127.0.0.1, and the realm localhost."""
    tokens.write_jwks(tmp_path / "jwks.json")
    authentication = (
        f'{{token: {{realm: "{tokens.realm}", service: {SERVICE}, issuer: {ISSUER}, jwks: {tmp_path}/jwks.json}}}}'
    )
    with distribution(tmp_path / "token-registry", certificate, authentication, ALICE) as registry:
        yield registry


def image(registry: Registry, name: str) -> Reference:
    path, _, tag = name.partition(":")
    return Reference(registry.address, path, tag or None)


def accounts_for(accounts: Mapping[str, tuple[str, str]]) -> Accounts:
    return Accounts({prefix: Account(prefix, *account) for prefix, account in accounts.items()})


def client(registry: Registry, accounts: Mapping[str, tuple[str, str]], **environ: str) -> Client:
    return Client(accounts_for(accounts), registry.authority, environ, width=32)


def responses(registry: Registry) -> list[tuple[str, str, str, int]]:
    """Return method, path, protocol and status of every response to the client, by the registry's access log."""
    lines = re.findall(r'"(\w+) (\S+) (\S+)" (\d+) \d+ "" "imageporter/[0-9.]+"', log_of(registry.config.with_name("log")))
    return [(method, path, protocol, int(status)) for method, path, protocol, status in lines]


def users_by_path(registry: Registry) -> dict[str, set[str]]:
    """Return who asked for which path, by the registry's log of authorised requests of the client."""
    users = collections.defaultdict(set)
    for line in log_of(registry.config.with_name("log")).splitlines():
        if "authorized request" in line and '"http.request.useragent":"imageporter/' in line:
            row = json.loads(line)
            users[row["http.request.uri"]].add(row["auth.user.name"])
    return users


@async_test
async def test_distribution_speaks_http2_and_gives_the_digests_of_crane(htpasswd: Registry) -> None:
    digests = {"team/app:v1": htpasswd.push("team/app:v1"), "team/index:v1": htpasswd.push_index("team/index:v1")}
    async with client(htpasswd, {htpasswd.address: ALICE}) as one:
        for name, digest in digests.items():
            assert await one.digest("source", image(htpasswd, name), 20) == digest == htpasswd.digest(name)
        with pytest.raises(RegistryError) as caught:
            await one.digest("target", image(htpasswd, "team/app:missing"), 20)
        assert caught.value.kind is ErrorKind.NOT_FOUND
        assert await one.digest("source", image(htpasswd, "team/app:missing"), 20) is None
    assert responses(htpasswd) == [
        ("GET", "/v2/", "HTTP/2.0", 401),
        ("HEAD", "/v2/team/app/manifests/v1", "HTTP/2.0", 200),
        ("HEAD", "/v2/team/index/manifests/v1", "HTTP/2.0", 200),
        ("HEAD", "/v2/team/app/manifests/missing", "HTTP/2.0", 404),
        ("HEAD", "/v2/team/app/manifests/missing", "HTTP/2.0", 404),
    ]


@async_test
async def test_a_wrong_password_is_left_to_crane(htpasswd: Registry, token_registry: Registry, tokens: TokenServer) -> None:
    for registry in (htpasswd, token_registry):
        registry.push("team/app:v1")
        async with client(registry, {registry.address: ("alice", "wrong")}) as one:
            for subject in ("source", "target"):
                assert await one.digest(subject, image(registry, "team/app:v1"), 20) is None
    assert [request.status for request in tokens.requests[-2:]] == [401, 401]


@async_test
async def test_two_accounts_on_one_host_never_meet(htpasswd: Registry) -> None:
    """Each repository sees its own user only, in 1,000 concurrent look-ups."""
    names = [f"{namespace}/app{number}:v1" for namespace in ("alice", "bob") for number in range(5)]
    digests = {name: htpasswd.push(name) for name in names}
    accounts = {f"{htpasswd}/alice": ALICE, f"{htpasswd}/bob": BOB}
    async with client(htpasswd, accounts) as one:
        asked = names * 100
        found = await asyncio.gather(*(one.digest("source", image(htpasswd, name), 60) for name in asked))
    assert found == [digests[name] for name in asked]
    expected = {f"/v2/{name.replace(':', '/manifests/')}": {name.partition("/")[0]} for name in names}
    assert users_by_path(htpasswd) == expected
    assert len([row for row in responses(htpasswd) if row[0] == "HEAD"]) == 1000


@async_test
async def test_two_accounts_on_one_host_never_meet_with_tokens(token_registry: Registry, tokens: TokenServer) -> None:
    names = [f"{namespace}/app{number}:v1" for namespace in ("team", "other") for number in range(5)]
    digests = {name: token_registry.push(name) for name in names if name.startswith("team/")}
    token_registry.crane("auth", "login", token_registry.address, "-u", BOB[0], "--password-stdin", stdin=BOB[1])
    digests |= {name: token_registry.push(name) for name in names if name.startswith("other/")}
    tokens.requests.clear()
    accounts = {f"{token_registry}/team": ALICE, f"{token_registry}/other": BOB}
    async with client(token_registry, accounts) as one:
        asked = names * 100
        found = await asyncio.gather(*(one.digest("source", image(token_registry, name), 60) for name in asked))
    assert found == [digests[name] for name in asked]
    assert sorted((request.username, request.scope) for request in tokens.requests) == sorted(
        (user, f"repository:{namespace}/app{number}:pull")
        for user, namespace in (("alice", "team"), ("bob", "other"))
        for number in range(5)
    )
    owners = {"team": "alice", "other": "bob"}
    assert users_by_path(token_registry) == {
        f"/v2/{name.replace(':', '/manifests/')}": {owners[name.partition("/")[0]]} for name in names
    }


@async_test
async def test_anonymous_pull_next_to_an_account_for_push(token_registry: Registry, tokens: TokenServer) -> None:
    digest = token_registry.push("public/app:v1")
    token_registry.push("team/app:v1")
    tokens.requests.clear()
    async with client(token_registry, {f"{token_registry}/team": ALICE}) as one:
        assert await one.digest("source", image(token_registry, "public/app:v1"), 20) == digest
        assert await one.digest("target", image(token_registry, "team/app:v1"), 20) == digest
    assert [(request.username, request.scope) for request in tokens.requests] == [
        ("", "repository:public/app:pull"),
        ("alice", "repository:team/app:pull"),
    ]
    async with client(token_registry, {}) as one:
        assert await one.digest("source", image(token_registry, "team/app:v1"), 20) is None


@pytest.mark.parametrize("field_name", ["token", "access_token"])
@async_test
async def test_tokens_are_renewed_before_they_expire(token_registry: Registry, tokens: TokenServer, field_name: str) -> None:
    digest = token_registry.push("team/app:v1")
    tokens.field_name, tokens.expires_in, tokens.accepted = field_name, 1, 30
    tokens.requests.clear()
    async with client(token_registry, {token_registry.address: ALICE}) as one:
        while len(tokens.requests) < 3:
            assert await one.digest("source", image(token_registry, "team/app:v1"), 20) == digest
    assert {status for method, _, _, status in responses(token_registry) if method == "HEAD"} == {200}


@async_test
async def test_a_token_that_expires_too_early_is_renewed_when_it_is_refused(
    token_registry: Registry, tokens: TokenServer
) -> None:
    """The service promises 300 seconds, and the registry stops accepting the token after two."""
    digest = token_registry.push("team/app:v1")
    tokens.accepted = 2
    tokens.requests.clear()
    async with client(token_registry, {token_registry.address: ALICE}) as one:
        while len(tokens.requests) < 2:
            found = [one.digest("source", image(token_registry, "team/app:v1"), 20) for _ in range(10)]
            assert await asyncio.gather(*found) == [digest] * 10
    statuses = collections.Counter(status for method, _, _, status in responses(token_registry) if method == "HEAD")
    assert 1 <= statuses[401] <= 10
    assert len(tokens.requests) == 2


@dataclass
class ConnectProxy:
    """A proxy that wants an account, and knows where `registry.test` is. It keeps the head of every request."""

    account: str = "me:p@ss"
    heads: list[str] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._open = Connections(self._serve)
        self._server = await asyncio.start_server(self._open, "127.0.0.1", 0)
        self.url = f"http://me:p%40ss@127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._open.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        method, target, _ = head.split(" ", 2)
        host, _, port = target.partition(":")
        credentials = base64.b64encode(self.account.encode()).decode()
        if method == "CONNECT" and host == "registry.test" and f"Proxy-Authorization: Basic {credentials}\r\n" in head:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\nDocker-Content-Digest: not this one\r\n\r\n")
            await asyncio.gather(_pipe(reader, to_writer), _pipe(to_reader, writer))
        else:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while content := await reader.read(65536):
            writer.write(content)
            await writer.drain()
    finally:
        writer.close()


@async_test
async def test_a_connect_proxy_sees_no_account_and_no_proxy_bypasses_it(htpasswd: Registry) -> None:
    digest = htpasswd.push("team/app:v1")
    port = htpasswd.address.rpartition(":")[2]
    host = f"registry.test:{port}"
    reference = Reference(host, "team/app", "v1")
    async with ConnectProxy() as proxy:
        async with client(htpasswd, {host: ALICE}, HTTPS_PROXY=proxy.url) as one:
            assert await one.digest("source", reference, 20) == digest
        assert [head.splitlines()[0] for head in proxy.heads] == [f"CONNECT {host} HTTP/1.1"]
        assert "\nauthorization:" not in "".join(proxy.heads).lower()
        assert responses(htpasswd)[-1] == ("HEAD", "/v2/team/app/manifests/v1", "HTTP/2.0", 200)

        # crane means the same by these variables.
        for no_proxy, tunnels, expected in (("", 2, digest), ("registry.test", 0, None), (f".test:{port}", 0, None)):
            proxy.heads.clear()
            async with client(htpasswd, {host: ALICE}, HTTPS_PROXY=proxy.url, NO_PROXY=no_proxy) as one:
                assert await one.digest("source", reference, 20) == expected
            output = await crane_digest(htpasswd, host, HTTPS_PROXY=proxy.url, NO_PROXY=no_proxy)
            assert output == (expected or "")
            assert len(proxy.heads) == tunnels

        # A refused tunnel is no answer of the registry.
        async with client(htpasswd, {host: ALICE}, HTTPS_PROXY=proxy.url.replace("p%40ss", "wrong")) as one:
            assert await one.digest("target", reference, 20) is None


async def crane_digest(registry: Registry, host: str, **environ: str) -> str:
    """Return what the real crane prints for `team/app:v1` on `host`, with alice's account."""
    config = registry.config.with_name(f"docker-{host}")
    config.mkdir(exist_ok=True)
    encoded = base64.b64encode(":".join(ALICE).encode()).decode()
    (config / "config.json").write_text(json.dumps({"auths": {host: {"auth": encoded}}}))
    process = await asyncio.create_subprocess_exec(
        str(CRANE),
        "digest",
        f"{host}/team/app:v1",
        env={"DOCKER_CONFIG": str(config), **registry.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return (await process.communicate())[0].decode().strip()


class FreezingRelay:
    """A TCP relay in front of a registry. `freeze` makes it swallow what comes over the connections it has so far."""

    def __init__(self, address: str) -> None:
        host, port = address.split(":")
        self._upstream = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._frozen: set[int] = set()
        self._count = 0
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        self._frozen = set(range(self._count))

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                number, self._count = self._count, self._count + 1
                for origin, destination in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(number, origin, destination), daemon=True).start()

    def _pump(self, number: int, origin: socket.socket, destination: socket.socket) -> None:
        with suppress(OSError):
            while data := origin.recv(65536):
                if number not in self._frozen:
                    destination.sendall(data)
        destination.close()


@async_test
async def test_a_dead_connection_costs_one_time_limit_and_not_every_look_up_after_it(htpasswd: Registry) -> None:
    """As after a dropped NAT entry: curl would send every further HTTP/2 request over the same connection."""
    digest = await asyncio.to_thread(htpasswd.push, "alice/app:1")
    relay = FreezingRelay(htpasswd.address)
    host = relay.address
    accounts = Accounts({host: Account(host, *ALICE)})
    image = Reference(host, "alice/app", "1")
    try:
        async with Client(accounts, htpasswd.authority, {}, 8) as client:
            assert await client.digest("source", image, 30) == digest
            relay.freeze()
            with pytest.raises(RegistryError) as caught:
                await client.digest("source", image, 1)
            assert caught.value.kind is ErrorKind.TIMED_OUT
            assert await client.digest("source", image, 30) == digest
    finally:
        relay.close()
