"""Servers that receive what ImagePorter sends of its own accord: webhooks, pings and mail."""

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from support import free_port


@dataclass
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """An HTTP server on loopback that keeps each request, and answers `status`."""

    address: str = ""
    status: int = 200
    received: list[Received] = field(default_factory=list)
    stalled: threading.Event | None = None  # nothing is answered before it is set

    @classmethod
    @contextmanager
    def serve(cls, tls: ssl.SSLContext | None = None) -> Iterator["Receiver"]:
        receiver = cls()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                receiver.received.append(Received(self.command, self.path, dict(self.headers), body))
                if receiver.stalled is not None:
                    receiver.stalled.wait(60)
                self.send_response(receiver.status)
                self.end_headers()
                self.wfile.write(b"ok")

            do_GET = do_POST  # noqa: N815 (the base class's)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        receiver.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            if receiver.stalled is not None:
                receiver.stalled.set()
            server.shutdown()
            server.server_close()
            thread.join()

    def take(self) -> list[Received]:
        """What was received since the last call."""
        taken, self.received = self.received, []
        return taken


class _Mailbox:
    def __init__(self) -> None:
        self.mails: list[tuple[list[str], str]] = []

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's)
        self.mails.append((envelope.rcpt_tos, envelope.content.decode()))
        return "250 OK"


@contextmanager
def mail_server() -> Iterator[tuple[int, list[tuple[list[str], str]]]]:
    """An SMTP server on loopback: its port, and the mails (recipients and text) as they arrive."""
    mailbox = _Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=(port := free_port()))
    controller.start()
    try:
        yield port, mailbox.mails
    finally:
        controller.stop()


@contextmanager
def tunnels_to(address: str) -> Iterator[str]:
    """An HTTP proxy that leads every tunnel to `address`, whatever host it was asked for; gives its URL."""
    host, _, port = address.partition(":")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            head = b""
            while b"\r\n\r\n" not in head:
                head += self.request.recv(65536)
            with socket.create_connection((host, int(port))) as upstream:
                self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pump, args=(upstream, self.request), daemon=True)
                back.start()
                _pump(self.request, upstream)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def _pump(origin: socket.socket, destination: socket.socket) -> None:
    with suppress(OSError):
        while data := origin.recv(65536):
            destination.sendall(data)
        destination.shutdown(socket.SHUT_WR)
