"""An HTTP server in the event loop of a test, which notes each request and answers as odd as the test wants."""

import asyncio
import functools
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, Self

import trustme

Write = Callable[[asyncio.StreamWriter], Awaitable[None]]
TEST_LIMIT = 30  # seconds
TLS_HANDSHAKE = b"\x16"

P = ParamSpec("P")


def async_test(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in an event loop of its own, which ends in a bounded time."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(TEST_LIMIT):
                await test(*args, **kwargs)

        asyncio.run(bounded())

    return run


async def until(condition: Callable[[], bool]) -> None:
    """Wait for `condition`; the limit is the test's."""
    while not condition():  # noqa: ASYNC110, a condition of the process has no event
        await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Request:
    """A request that arrived. The names of `headers` are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


def response(status: int, headers: Mapping[str, str] = {}, body: str = "") -> bytes:
    """Return the bytes of a response. Its length is right unless `headers` has one."""
    lines = {"Content-Length": str(len(body.encode()))} | dict(headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"HTTP/1.1 {status} Odd\r\n{head}\r\n{body}".encode()


def manifest(digest: str, headers: Mapping[str, str] = {}) -> bytes:
    """Return the response of a healthy registry to HEAD."""
    usual = {"Docker-Content-Digest": digest, "Content-Type": "application/json", "Content-Length": "300"}
    return response(200, usual | dict(headers))


async def silence(_: asyncio.StreamWriter) -> None:
    """As a response: none."""
    await asyncio.Event().wait()


def certify(folder: Path, name: str = "server", hosts: Sequence[str] = ("127.0.0.1", "localhost", "registry.test")) -> Path:
    """Make a private authority `NAME-ca.pem`; return the certificate of its server, which has the key beside it."""
    authority = trustme.CA()
    server = authority.issue_cert(*hosts)
    authority.cert_pem.write_to_path(folder / f"{name}-ca.pem")
    server.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    server.private_key_pem.write_to_path(folder / f"{name}.key")
    return folder / f"{name}.pem"


class Connections:
    """The connections of a server: `converse` handles each in a task of its own."""

    def __init__(self, converse: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self._converse = converse
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection, as `asyncio.start_server` asks for it. The client may hang up at any moment."""
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
                await self._converse(reader, writer)
        finally:
            writer.close()
            self._tasks.discard(task)

    async def cancel(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class OddServer:
    """Answers every request with what `respond` returns for it: the bytes, or a function that writes them.

    Without `certificate` it speaks plain HTTP. If HTTPS is tried, it hangs up, or keeps silent with `mute_to_tls`.
    """

    def __init__(
        self, respond: Callable[[Request], bytes | Write], certificate: Path | None = None, *, mute_to_tls: bool = False
    ) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._respond = respond
        self._mute_to_tls = mute_to_tls
        self._tls = None
        if certificate:
            self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._tls.load_cert_chain(certificate, certificate.with_suffix(".key"))

    async def __aenter__(self) -> Self:
        self._open = Connections(self._serve)
        self._server = await asyncio.start_server(self._open, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._open.cancel()

    def of(self, method: str, target: str = "") -> list[Request]:
        """Return the requests with `method` whose target contains `target`."""
        return [request for request in self.requests if request.method == method and target in request.target]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while (first := await reader.readexactly(1)) != TLS_HANDSHAKE:
            await self._answer(first + await reader.readuntil(b"\r\n\r\n"), writer)
        if self._mute_to_tls:
            await silence(writer)

    async def _answer(self, head: bytes, writer: asyncio.StreamWriter) -> None:
        first, *lines = head.decode().strip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        request = Request(method, target, headers)
        self.requests.append(request)
        answer = self._respond(request)
        if isinstance(answer, bytes):
            writer.write(answer)
        else:
            await answer(writer)
        await writer.drain()
