"""A token service for distribution's token authentication, which signs what its table of accounts allows."""

import base64
import hashlib
import json
import ssl
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

ISSUER, SERVICE = "test issuer", "registry.test"
ANONYMOUS = ""
LEEWAY = 60  # seconds for which distribution accepts a token that has expired


@dataclass(frozen=True)
class TokenRequest:
    """A request that arrived: who wants to do what, and the status of the response."""

    username: str
    scope: str
    status: int


@dataclass
class TokenServer:
    """`accounts` are passwords and namespaces by username; "" is anyone, who may only pull.

    A token says that it lives `expires_in` seconds; the registry accepts it for `accepted` seconds.
    """

    accounts: Mapping[str, tuple[str, Sequence[str]]]
    expires_in: float = 300
    accepted: float = 300
    field_name: str = "token"
    requests: list[TokenRequest] = field(default_factory=list)
    realm: str = ""

    def __post_init__(self) -> None:
        self._key = generate_private_key(65537, 2048)

    @contextmanager
    def serve(self, certificate: Path) -> Iterator["TokenServer"]:
        """Serve with TLS on a free port of loopback, as `localhost`."""
        with ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self)) as server:
            tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            tls.load_cert_chain(certificate, certificate.with_suffix(".key"))
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            self.realm = f"https://localhost:{server.server_port}/token"
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()

    def write_jwks(self, path: Path) -> None:
        """Write the public key, as distribution's `jwks` wants it."""
        path.write_text(json.dumps({"keys": [_jwk(self._key) | {"kid": self._kid, "alg": "RS256", "use": "sig"}]}))

    def answer(self, query: str, authorization: str | None) -> tuple[int, Mapping[str, Any]]:
        """Return the status and the JSON for a request for a token."""
        [scope] = urllib.parse.parse_qs(query)["scope"]
        scheme, _, encoded = (authorization or "").partition(" ")
        username, _, password = base64.b64decode(encoded).decode().partition(":") if scheme == "Basic" else (ANONYMOUS, "", "")
        expected, namespaces = self.accounts.get(username, (None, ()))
        status = 200 if password == expected else 401
        self.requests.append(TokenRequest(username, scope, status))
        if status != 200:
            return status, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]}
        _, name, actions = scope.split(":")
        allowed = [action for action in actions.split(",") if username or action == "pull"]
        access = {"type": "repository", "name": name, "actions": allowed}
        token = self._sign(username, [access] if any(name.startswith(f"{each}/") for each in namespaces) else [])
        return status, {self.field_name: token, "expires_in": self.expires_in}

    @property
    def _kid(self) -> str:
        """RFC 7638: the hash of the public key."""
        return _encode(hashlib.sha256(json.dumps(_jwk(self._key), separators=(",", ":"), sort_keys=True).encode()).digest())

    def _sign(self, username: str, access: Sequence[Mapping[str, Any]]) -> str:
        now = time.time()
        times = {"exp": int(now + self.accepted - LEEWAY), "nbf": int(now - 600), "iat": int(now - 600)}
        claims = {"iss": ISSUER, "sub": username, "aud": SERVICE, "jti": str(uuid.uuid4()), "access": access} | times
        header = {"typ": "JWT", "alg": "RS256", "kid": self._kid}
        signed = ".".join(_encode(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{_encode(self._key.sign(signed.encode(), PKCS1v15(), hashes.SHA256()))}"


def _jwk(key: RSAPrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    return {
        "e": _encode(numbers.e.to_bytes(3, "big")),
        "kty": "RSA",
        "n": _encode(numbers.n.to_bytes(key.key_size // 8, "big")),
    }


def _encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _handler_of(server: TokenServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # headers and body in one segment

        def do_GET(self) -> None:
            status, content = server.answer(self.path.partition("?")[2], self.headers["Authorization"])
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
