"""The HTTP server under the receiver: uvicorn, with time limits for those who send."""

import asyncio
import json
import logging
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h11
import uvicorn
from loguru import logger
from uvicorn.protocols.http.h11_impl import H11Protocol

from imageporter.system.errors import UserError
from imageporter.config.settings import Settings
from imageporter.system.signals import Stop

REQUEST_SECONDS = 10
MOST_CONNECTIONS = 500
SPARE_DESCRIPTORS = 40
BACKLOG = 1024
GRACE_SECONDS = 5
ALIVE_SECONDS = 60


class _Protocol(H11Protocol):
    """uvicorn waits for the rest of a request for ever; this cuts a slow caller off."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _most_connections():
            transport.write(_raw("503 Service Unavailable", "too many connections; send it again later"))
            transport.close()
        self._late = self.loop.call_later(REQUEST_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._late is None:
            self._late = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)
        super().data_received(data)
        if self.conn.their_state not in {h11.IDLE, h11.SEND_BODY}:  # all of the request is here
            self._in_time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self.transport.write(_raw("400 Bad Request", msg))
        self.transport.close()

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def _most_connections() -> int:
    """As many as there are descriptors for, with some to spare."""
    return min(MOST_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS)


def _raw(status: str, reason: str) -> bytes:
    """An answer to what is no request."""
    body = json.dumps({"error": reason})
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close"
    return f"{head}\r\n\r\n{body}".encode()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: they are Stop's."""
        yield


class _Relay(logging.Handler):
    """What uvicorn says is for those who look for a mistake."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.debug("uvicorn: {}", record.getMessage())


def serve(application: Any, settings: Settings, stop: Stop) -> int:
    """Serve the ASGI `application` at HOOK_LISTEN until a signal comes, touching ALIVE_FILE meanwhile; gives the exit code.

    Raises UserError where nobody can listen there.
    """
    host, _, port = settings.hook_listen.rpartition(":")
    for name in ("uvicorn.error", "asyncio"):
        told = logging.getLogger(name)
        told.handlers, told.propagate = [_Relay()], False
    config = uvicorn.Config(
        application,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config)

    def end() -> None:
        server.should_exit = True

    with _listening(host.strip("[]"), int(port), settings.hook_listen) as door, stop.ending(end):
        address, number = door.getsockname()[:2]
        logger.info("the hook listens on http://{}:{}", f"[{address}]" if ":" in address else address, number)
        asyncio.run(_serve(server, door, settings.alive_file))
    logger.info("the hook has stopped")
    return stop.exit_code or 1


async def _serve(server: uvicorn.Server, door: socket.socket, alive_file: Path | None) -> None:
    showing = asyncio.create_task(_show(alive_file))
    await server.serve(sockets=[door])
    showing.cancel()


async def _show(alive_file: Path | None) -> None:
    """Show, each minute, that requests are taken up."""
    told = False
    while alive_file:
        try:
            alive_file.touch()  # noqa: ASYNC240 (a moment)
        except OSError as error:
            if not told:
                logger.warning("ALIVE_FILE: {} cannot be written: {}", alive_file, error.strerror)
            told = True
        await asyncio.sleep(ALIVE_SECONDS)


@contextmanager
def _listening(host: str, port: int, listen: str) -> Iterator[socket.socket]:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        door = socket.socket(family, kind)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(address)
        door.listen(BACKLOG)
    except OSError as error:
        raise UserError([f"HOOK_LISTEN: {listen!r} cannot be listened on: {error.strerror}; choose another address"]) from None
    with door:
        yield door
