"""A gateway with TLS before a real registry: it forwards every request, except where the campaign breaks one.

It speaks HTTP/1.1, and HTTP/2 where ALPN agrees on it. It runs in an event loop of its own, in a thread.
"""

import asyncio
import hashlib
import random
import re
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

SHARE = 0.3  # of the connections are faulty; of the streams, on HTTP/2
HOP_BY_HOP = {b"connection", b"transfer-encoding", b"keep-alive", b"content-length"}
WAIT_FOR_STREAMS = 0.3  # seconds
_TAGGED = re.compile(r"/v2/(\S+)/manifests/([^:?]+)$")

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Request:
    """A request that arrived."""

    method: str
    target: str
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """Return the value of a header."""
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == name.encode()), None)


@dataclass(frozen=True)
class Response:
    """A response, complete."""

    status: int
    headers: Headers = ()
    body: bytes = b""
    length: int | None = None  # of the body that a response to HEAD does not have


@dataclass(frozen=True)
class Break:
    """What to do to a response: replace it, or send `after` of its bytes (a share of them) and then end as `ending` says."""

    response: Response | None = None
    ending: str = ""  # "reset", "stall", "close"; on HTTP/2: "goaway", "rst"
    after: float = 0.0
    change: Callable[[Response], Response] | None = None


Fault = Callable[[Request], Break | None]
Upstream = Callable[[Request], Awaitable[Response]]


class Gateway:
    """`fault` decides for each request of a faulty connection; None breaks nothing."""

    def __init__(self, upstream: Upstream, certificates: dict[str, ssl.SSLContext], port: int, seed: str) -> None:
        self.fault: Fault | None = None
        self.broken = 0  # requests
        self.heals_after: int | None = None  # that many broken requests
        self.share = SHARE
        self.certificate = "good"  # of the faulty connections
        self.http2 = False  # offered to clients
        self.streams = 0  # wait for so many HTTP/2 streams before the first response
        self.most_streams = 0
        self.tagged: list[tuple[str, str, str]] = []  # repository, tag and digest of each accepted PUT
        self.received: list[bytes] = []  # each request, as text
        self._upstream = upstream
        self._certificates = certificates
        self._port = port
        self._random = random.Random(seed)

    def heal(self) -> None:
        """Break nothing any more."""
        self.fault, self.heals_after, self.certificate = None, None, "good"
        self.share, self.streams, self.http2 = SHARE, 0, False

    @contextmanager
    def serve(self) -> Iterator["Gateway"]:
        """Serve on 127.0.0.1 until the context ends."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), loop).result(10)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    async def _listen(self) -> None:
        first = self._certificates["good"]
        first.sni_callback = self._choose_certificate
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, ssl=first, backlog=512)

    def _choose_certificate(self, connection: Any, _: str | None, __: ssl.SSLContext) -> None:
        if self.http2:
            connection.context = self._certificates["HTTP/2"]
        if self.certificate != "good" and self._random.random() < self.share:
            connection.context = self._certificates[self.certificate]
            self.broken += 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("ssl_object")
        serve = self._serve_http2 if connection.selected_alpn_protocol() == "h2" else self._serve_http1
        # A client may hang up at any moment, and h2 refuses what a broken one sends.
        with suppress(
            OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, h2.exceptions.ProtocolError, ValueError
        ):
            await serve(reader, writer)
        with suppress(OSError, RuntimeError):
            writer.close()

    def _break(self, request: Request) -> Break | None:
        if self.fault is None or (self.heals_after is not None and self.broken >= self.heals_after):
            return None
        broken = self.fault(request)
        self.broken += broken is not None
        return broken

    async def _respond(self, request: Request, *, faulty: bool) -> tuple[Response, Break | None]:
        """Return the registry's response, or what is sent in its place, and how it is broken."""
        lines = b"\n".join(name + b": " + value for name, value in request.headers)
        self.received.append(f"{request.method} {request.target}\n".encode() + lines + request.body)
        broken = self._break(request) if faulty else None
        if broken and broken.response:
            return broken.response, None
        response = await self._upstream(request)
        if request.method == "PUT" and response.status == 201 and (found := _TAGGED.match(request.target)):
            self.tagged.append((found[1], found[2], "sha256:" + hashlib.sha256(request.body).hexdigest()))
        if broken and broken.change:
            response = broken.change(response)
        return response, broken

    async def _serve_http1(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        faulty = self._random.random() < self.share
        while (request := await _read_request(reader)) is not None:
            response, broken = await self._respond(request, faulty=faulty)
            data = _encode(request, response)
            if broken is None or not broken.ending:
                writer.write(data)
                await writer.drain()
                continue
            writer.write(data[: int(len(data) * broken.after)])
            await writer.drain()
            if broken.ending == "stall":
                await reader.read()  # until the client hangs up
            if broken.ending == "reset":
                # TLS must not say goodbye: with no time to linger, the kernel sends RST.
                plain = writer.get_extra_info("socket")
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            return

    async def _serve_http2(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        peer.initiate_connection()
        writer.write(peer.data_to_send())
        requests: dict[int, Request] = {}
        tasks: set[asyncio.Task[None]] = set()
        enough = asyncio.Event()
        if not self.streams:
            enough.set()
        try:
            while data := await reader.read(65536):
                for event in peer.receive_data(data):
                    match event:
                        case h2.events.RequestReceived(stream_id=stream, headers=headers):
                            assert stream is not None
                            requests[stream] = _of_http2(headers or ())
                            self.most_streams = max(self.most_streams, len(requests))
                            if len(requests) >= self.streams:
                                enough.set()
                        case h2.events.DataReceived(stream_id=stream, data=part, flow_controlled_length=length):
                            assert stream is not None
                            requests[stream] = replace(requests[stream], body=requests[stream].body + (part or b""))
                            peer.acknowledge_received_data(length or 0, stream)
                        case h2.events.StreamEnded(stream_id=stream):
                            assert stream is not None
                            tasks.add(asyncio.ensure_future(self._answer_http2(peer, writer, stream, requests, enough)))
                        case h2.events.StreamReset(stream_id=stream):
                            requests.pop(stream or 0, None)
                writer.write(peer.data_to_send())
        finally:
            for task in tasks:
                task.cancel()

    async def _answer_http2(
        self,
        peer: h2.connection.H2Connection,
        writer: asyncio.StreamWriter,
        stream: int,
        requests: dict[int, Request],
        enough: asyncio.Event,
    ) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(enough.wait(), WAIT_FOR_STREAMS)
        request = requests[stream]
        response, broken = await self._respond(request, faulty=self._random.random() < self.share)
        # The client may have ended the stream or the connection meanwhile.
        with suppress(h2.exceptions.ProtocolError, OSError):
            if broken and broken.ending == "rst":
                peer.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            elif broken and broken.ending == "goaway":
                peer.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, last_stream_id=stream)
                writer.write(peer.data_to_send())
                writer.close()
                return
            else:
                length = response.length if request.method == "HEAD" else len(response.body)
                headers = [(name.lower(), value) for name, value in response.headers]
                headers = [(b":status", str(response.status).encode()), *headers, (b"content-length", b"%d" % (length or 0))]
                has_body = request.method != "HEAD" and bool(response.body)
                peer.send_headers(stream, headers, end_stream=not has_body)
                for start in range(0, len(response.body) if has_body else 0, 16384):
                    piece = response.body[start : start + 16384]
                    peer.send_data(stream, piece, end_stream=start + 16384 >= len(response.body))
            requests.pop(stream, None)
            writer.write(peer.data_to_send())


class Backend:
    """A registry that speaks plain HTTP/1.1 at `port` of loopback; idle connections are kept."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __call__(self, request: Request) -> Response:
        """Return the registry's response to `request`."""
        connection = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = connection
        lines = [(name, value) for name, value in request.headers if name.lower() not in HOP_BY_HOP]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in lines)
        first = f"{request.method} {request.target} HTTP/1.1\r\n".encode()
        writer.write(first + head + b"Content-Length: %d\r\n\r\n" % len(request.body) + request.body)
        status_line, headers = await _read_head(reader)
        status = int(status_line.split()[1])
        has_body = request.method != "HEAD" and status not in {204, 304}
        body = await _read_body(reader, headers) if has_body else b""
        self._idle.append(connection)
        length = next((int(value) for name, value in headers if name.lower() == b"content-length"), 0)
        return Response(status, [row for row in headers if row[0].lower() not in HOP_BY_HOP], body, length)


def _of_http2(headers: Sequence[Any]) -> Request:
    pseudo = {bytes(name): bytes(value) for name, value in headers if bytes(name).startswith(b":")}
    lines = [(bytes(name), bytes(value)) for name, value in headers if not bytes(name).startswith(b":")]
    lines.append((b"host", pseudo[b":authority"]))
    return Request(pseudo[b":method"].decode(), pseudo[b":path"].decode(), lines, b"")


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, Headers]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).strip().split(b"\r\n")
    return first.decode("latin-1"), [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]


async def _read_body(reader: asyncio.StreamReader, headers: Headers) -> bytes:
    known = {name.lower(): value for name, value in headers}
    if known.get(b"transfer-encoding") != b"chunked":
        return await reader.readexactly(int(known.get(b"content-length", b"0")))
    body = b""
    while length := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(length + 2))[:-2]
    await reader.readexactly(2)
    return body


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        first, headers = await _read_head(reader)
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = first.split(" ")
    return Request(method, target, headers, await _read_body(reader, headers))


def _encode(request: Request, response: Response) -> bytes:
    length = response.length if request.method == "HEAD" and response.length is not None else len(response.body)
    lines = [(name, value) for name, value in response.headers if name.lower() != b"content-length"]
    head = b"".join(name + b": " + value + b"\r\n" for name, value in [*lines, (b"Content-Length", b"%d" % length)])
    body = b"" if request.method == "HEAD" else response.body
    return b"HTTP/1.1 %d Gateway\r\n" % response.status + head + b"\r\n" + body
