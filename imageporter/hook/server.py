"""The HTTP server under the hook: uvicorn, with a time limit for requests and a limit of connections."""

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

from imageporter.config.settings import Settings
from imageporter.system.errors import UserError
from imageporter.system.heartbeat import touch_heartbeat
from imageporter.system.signals import Shutdown

HEADER_SECONDS = 5
BODY_SECONDS = 10
MAX_CONNECTIONS = 500
MAX_CONNECTIONS_PER_ADDRESS = 100
SPARE_DESCRIPTORS = 40
BACKLOG = 1024
GRACE_SECONDS = 5
HEARTBEAT_SECONDS = 60


class _Protocol(H11Protocol):
    """H11Protocol with limits: uvicorn would wait for the rest of a request for ever, and take every connection."""

    _timer: asyncio.TimerHandle | None = None
    _awaited: object = None  # h11's state of the client that the timer is for

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = _address(self)
        of_address = sum(_address(one) == address for one in self.connections)
        if len(self.connections) > _max_connections() or of_address > MAX_CONNECTIONS_PER_ADDRESS:
            transport.write(_raw_response("503 Service Unavailable", "too many connections; send it again later"))
            transport.close()
        self._limit(h11.IDLE)

    def handle_events(self) -> None:
        """Handle what has arrived. It is also called after a response, for a request that arrived before it."""
        super().handle_events()
        state = self.conn.their_state
        # Between two requests, uvicorn's own limit for kept connections applies.
        is_between = state is h11.IDLE and not self.conn.trailing_data[0] and self._awaited is not h11.IDLE
        self._limit(None if is_between else state)

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit(None)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Respond to something that is not HTTP."""
        self.transport.write(_raw_response("400 Bad Request", msg))
        self.transport.close()

    def _limit(self, state: object) -> None:
        """Limit the time for the rest of the headers or of the body, whichever is awaited in this `state`."""
        if state is self._awaited:
            return  # bytes that trickle in do not extend the limit
        if self._timer is not None:
            self._timer.cancel()
        seconds = HEADER_SECONDS if state is h11.IDLE else BODY_SECONDS if state is h11.SEND_BODY else None
        self._timer = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)
        self._awaited = state


def _address(protocol: Any) -> str | None:
    return protocol.client[0] if protocol.client else None


def _max_connections() -> int:
    """Return how many connections there are file descriptors for, with some to spare."""
    return min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS)


def _raw_response(status: str, reason: str) -> bytes:
    """Return a response for a client that has sent no complete request."""
    body = json.dumps({"error": reason})
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close"
    return f"{head}\r\n\r\n{body}".encode()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to Shutdown."""
        yield


class _DebugHandler(logging.Handler):
    """Logs uvicorn's messages at DEBUG."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.debug("uvicorn: {}", record.getMessage())


def serve(app: Any, settings: Settings, shutdown: Shutdown) -> int:
    """Serve the ASGI application `app` at HOOK_LISTEN until a signal arrives; return the exit code.

    ALIVE_FILE is touched every minute. Raises UserError if the address cannot be listened on.
    """
    for name in ("uvicorn.error", "asyncio"):
        other = logging.getLogger(name)
        other.handlers, other.propagate = [_DebugHandler()], False
    config = uvicorn.Config(
        app,
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

    def stop() -> None:
        server.should_exit = True

    with _listen(settings.hook_listen) as listener, shutdown.calling(stop):
        address, port = listener.getsockname()[:2]
        logger.info("the hook listens on http://{}:{}", f"[{address}]" if ":" in address else address, port)
        asyncio.run(_serve(server, listener, settings.alive_file))
    logger.info("the hook has stopped")
    return shutdown.exit_code or 1


async def _serve(server: uvicorn.Server, listener: socket.socket, alive_file: Path | None) -> None:
    heartbeat = asyncio.create_task(_beat(alive_file))
    await server.serve(sockets=[listener])
    heartbeat.cancel()


async def _beat(alive_file: Path | None) -> None:
    """Touch the heartbeat file every minute, from the event loop, so that it grows old if the loop is stuck."""
    is_logged = False
    while alive_file:
        try:
            touch_heartbeat(alive_file)
        except OSError as error:
            if not is_logged:
                logger.warning("ALIVE_FILE: {} cannot be written: {}", alive_file, error.strerror)
            is_logged = True
        await asyncio.sleep(HEARTBEAT_SECONDS)


@contextmanager
def _listen(address: str) -> Iterator[socket.socket]:
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, resolved = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)  # asyncio sets TCP_NODELAY if it knows that this is TCP
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(resolved)
        listener.listen(BACKLOG)
    except OSError as error:
        line = f"HOOK_LISTEN: {address!r} cannot be listened on: {error.strerror}; choose another address"
        raise UserError([line]) from None
    with listener:
        yield listener
