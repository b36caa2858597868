"""Strategies of hostile requests to the hook, webhooks, responses of registries, and output of crane."""

import base64
import html
import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from hostile_input import (
    CANARY,
    DIGESTS,
    EDITS,
    HEX,
    ONE_LINE,
    OTHER_CANARY,
    REFERENCES,
    SCALARS,
    TAG,
    TEXT,
    Strategy,
    edit,
    evenly,
    mostly,
    pieces,
    to_bytes,
)
from hypothesis import strategies as st

from imageporter.hook.webhooks import SENDERS

PAYLOADS = Path(__file__).parents[1] / "tests" / "payloads"
HOOK_STATUSES = {200, 202, 400, 401, 404, 405, 406, 408, 413, 429, 503}  # the README's
RULES = {
    "a.example/team/app": "b.example/team/app",
    "docker.io/library/busybox:1": ["b.example/busybox:1"],
    "quay.io/dgangaia/test:/^v/": "b.example/test:1",
    "ghcr.io/codertocat/hello_docker": "b.example/hello",
    "hub.harbor.com/test-webhook/debian": "b.example/debian",
    "registry.example.com:5000/library/test": "b.example/test",
    "docker.io/svendowideit/testhook": "b.example/testhook",
}

# Requests to the hook

PATHS = ("/images/sync/hook", "/status", "/healthz", "/hooks/github", "/hooks/harbor", "/hooks/none", "/", "*", "//x/..")
NAMES = mostly(st.sampled_from(("a.example/team/app", "docker.io/library/busybox", "app", f"u:{CANARY}@a.io/b")), REFERENCES)
HEADERS = (
    "authorization",
    "x-hook-token",
    "content-type",
    "x-github-event",
    "x-hub-signature-256",
    "host",
    "transfer-encoding",
)
BASIC = base64.b64encode(f"me:{CANARY}".encode()).decode()
CREDENTIALS = (CANARY, f"Bearer {CANARY}", f"Basic {BASIC}", f"basic {BASIC}=", "Basic !", "Basic", "bearer ", "sha256=")
HEADER_VALUES = st.one_of(
    st.sampled_from(CREDENTIALS),
    st.sampled_from(("application/x-www-form-urlencoded", "push", "chunked")),
    st.binary(max_size=12).map(lambda raw: raw.decode("latin-1")),
)
LENGTH_HEADERS = st.tuples(st.just("content-length"), st.sampled_from(("0", "5", "1048577", "9" * 30)))
METHODS = mostly(st.sampled_from(("GET", "POST", "POST")), st.sampled_from(("HEAD", "PUT", "OPTIONS", "get", "\x00", "")))
ODD_BODIES = st.one_of(st.binary(max_size=40), st.sampled_from((b"payload=%7B%7D", b"payload=", b"[" * 9000, b"1" * 5000)))
BODIES = mostly(st.sampled_from((b"", b"{}")), ODD_BODIES)


class HookRequest(NamedTuple):
    """A request. `path` is not quoted yet, and `disconnects` says whether the client goes before its body is complete."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    body: bytes
    disconnects: bool


AUTHENTICATED = st.just([("x-hook-token", CANARY)])
ODD_HEADERS = st.lists(mostly(st.tuples(st.sampled_from(HEADERS), HEADER_VALUES), LENGTH_HEADERS), max_size=4)
PARAMETERS = evenly(st.tuples(st.just("name"), NAMES), st.tuples(st.just("tag"), TAG), st.tuples(TEXT, TEXT))
GOOD_PARAMETERS = st.tuples(st.tuples(st.just("name"), NAMES), st.tuples(st.just("tag"), TAG)).map(list)
ODD_PATHS = evenly(st.sampled_from(PATHS), pieces(st.sampled_from(PATHS), st.just(f"/{CANARY}")), ONE_LINE.map("/{}".format))
HOOK_REQUESTS = st.builds(
    HookRequest,
    METHODS,
    evenly(st.just(PATHS[0]), st.sampled_from(PATHS[:4]), ODD_PATHS),
    evenly(GOOD_PARAMETERS, GOOD_PARAMETERS, st.lists(PARAMETERS, max_size=3)),
    st.tuples(evenly(AUTHENTICATED, AUTHENTICATED, st.just([])), evenly(st.just([]), ODD_HEADERS)).map(
        lambda two: two[0] + two[1]
    ),
    BODIES,
    st.integers(0, 20).map(lambda number: number == 0),
)


MARKUP = ("<script>alert(1)</script>", '"><script>', "{{ 7 * 7 }}", "'; DROP TABLE images; --", "%", "_")
PAGE_TEXTS = evenly(st.sampled_from(MARKUP), TEXT)
PAGE_KEYS = st.sampled_from(("q", "outcome", "page", "queued", "full", "missing", "target", "all", "token"))
PAGE_QUERIES = st.lists(st.tuples(PAGE_KEYS, evenly(PAGE_TEXTS, st.sampled_from(("1", "9" * 30, "failed")))), max_size=4)
PAGE_REQUESTS = st.builds(
    HookRequest,
    st.sampled_from(("GET", "GET", "POST")),
    st.sampled_from(("/", "/", "/sync", "/metrics", "/page.css")),
    PAGE_QUERIES,
    st.tuples(evenly(AUTHENTICATED, AUTHENTICATED, st.just([])), evenly(st.just([]), ODD_HEADERS)).map(
        lambda two: two[0] + two[1]
    ),
    evenly(BODIES, PAGE_QUERIES.map(lambda pairs: urlencode(pairs, errors="replace").encode())),
    st.integers(0, 20).map(lambda number: number == 0),
)
PAGE_STATUSES = HOOK_STATUSES | {303, 403}


class Webhook(NamedTuple):
    """A request of the registry `sender`; `event` is GitHub's header."""

    sender: str
    event: str
    body: bytes
    registry: str | None


EXAMPLES = {path.stem: json.loads(path.read_text()) for path in sorted(PAYLOADS.glob("*.json"))}
MANY_EVENTS = [{"action": "push", "target": {"tag": "1", "repository": "team/app"}}] * 1000
PARTS_OF_PAYLOADS = ({"tag": "1"}, [{"tag": "1"}], [None] * 1001, MANY_EVENTS, "PUSH_ARTIFACT", "push")
WEBHOOK_VALUES = evenly(SCALARS, REFERENCES, TAG, st.sampled_from(PARTS_OF_PAYLOADS))
EVENTS = st.sampled_from(("registry_package", "package", "ping", "\xff"))


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in `data`."""
    children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(found for key, child in children for found in places(child, (*path, key)))]


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return `data` with `value` at `path`."""
    if not path:
        return value
    copy = data.copy()
    copy[path[0]] = replaced(data[path[0]], path[1:], value)
    return copy


@st.composite
def webhooks(draw: st.DrawFn) -> Webhook:
    """Return an example of tests/payloads with other values in it, or cut off."""
    name = draw(st.sampled_from(sorted(EXAMPLES)))
    payload = EXAMPLES[name]
    for _ in range(draw(st.integers(0, 3))):
        payload = replaced(payload, draw(st.sampled_from(places(payload))), draw(WEBHOOK_VALUES))
    body = json.dumps(payload).encode()
    if draw(st.integers(0, 5)) == 0:
        body = to_bytes(edit(body.decode(), draw(EDITS)))
    sender = draw(mostly(st.just(name.partition("-")[0]), st.sampled_from(sorted(SENDERS))))
    return Webhook(sender, draw(EVENTS), body, draw(mostly(st.none(), NAMES)))


# Responses of a registry

PORT = "PORT"  # replaced by that of the server
GOOD_DIGEST = f"sha256:{HEX}"
STATUS_LINES = mostly(
    st.sampled_from(("HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "HTTP/1.1 401 U", "HTTP/1.1 404 N", "HTTP/1.1 429 T")),
    st.sampled_from(
        ("HTTP/1.0 200", "HTTP/1.1 206 P", "HTTP/1.1 20", "HTTP/2 200", "HTTP/1.1 999 X", "HTTP/1.1 -1 X", "ICY 200 OK")
    ),
)
REALMS = (
    *(f"http://127.0.0.1:{PORT}/token", f"http://127.0.0.1:{PORT}?a=%zz&scope=x", f"http://127.0.0.1:{PORT}/token"),
    *("http://auth.example/token", "https://auth.example/", "http://2130706433/", "file:///etc/passwd", "http://a@b/"),
    *("http://[::1]:1/", "http://[::ffff:10.0.0.1]/", CANARY, "", "http://", "http://a.example:99999/", "HTTP://a.example/"),
)
ODD_CHALLENGES = ("Basic realm=x", "Bearer", "bearer", 'Bearer realm="', "Bearer realm=,realm=", "Digest x", "Negotiate")
SERVICES = st.sampled_from(("s", "", "\xff{}&scope=repository:other:push"))
BEARERS = st.tuples(evenly(st.just(REALMS[0]), st.sampled_from(REALMS)), SERVICES).map(
    'Bearer realm="{0[0]}",service="{0[1]}"'.format
)
CHALLENGES = mostly(BEARERS, st.sampled_from(ODD_CHALLENGES))
LENGTHS = st.sampled_from(("0", "2", "300", "-1", "1e3", "9" * 30, "5, 5", ""))
RETRY_AFTER = st.sampled_from(
    ("5", "-1", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 99 Jan 2001 00:00:00 GMT", "²", "soon")
)
LINES = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20)


def header(name: str, *values: str) -> Strategy[tuple[str, str]]:
    """Return a header with one of `values`."""
    return st.tuples(st.just(name), st.sampled_from(values))


WIRE_HEADERS: Strategy[tuple[str, str]] = evenly(
    st.tuples(st.just("Content-Length"), LENGTHS),
    header("Content-Type", "application/json", ""),
    st.tuples(st.just("Docker-Content-Digest"), st.one_of(st.just(GOOD_DIGEST), DIGESTS, LINES)),
    st.tuples(st.just("WWW-Authenticate"), st.one_of(CHALLENGES, LINES)),
    st.tuples(st.just("Retry-After"), RETRY_AFTER),
    header("Transfer-Encoding", "chunked", "gzip", "identity"),
    header("Content-Encoding", "gzip", "br", "x"),
    header("Connection", "close", "keep-alive", "Upgrade, HTTP2-Settings"),
    header("Location", "//x", f"http://127.0.0.1:{PORT}/x"),
    header("Strict-Transport-Security", "max-age=1"),
    header("Alt-Svc", 'h3=":1"'),
    header("Link", "<>; rel=next"),
    header("X", "x" * 400_000),
    st.tuples(LINES, LINES),
)
LIFETIMES = evenly(st.just(60), st.sampled_from((0, -1, 10**18, 10**400)), st.sampled_from((1.5, True, None)), SCALARS)
TOKENS = st.fixed_dictionaries(
    {"token": mostly(st.just("t0ken"), SCALARS)}, optional={"access_token": SCALARS, "expires_in": LIFETIMES}
)
ODD_TOKENS = evenly(TEXT, SCALARS.map(json.dumps), st.sampled_from(("[" * 100_000, "{}" * 9, "x" * 1_100_000)))
TOKEN_BODIES = mostly(TOKENS.map(json.dumps), ODD_TOKENS)
USUAL: Strategy[list[tuple[str, str]]] = st.just(
    [("Content-Type", "application/json"), ("Content-Length", "300"), ("Docker-Content-Digest", GOOD_DIGEST)]
)
GOOD_TOKEN = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"token":"abc"}'
NEXT = (
    f"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 3\r\nDocker-Content-Digest: sha256:{'e' * 64}\r\n\r\n".encode()
)
NO_RESPONSES = st.one_of(
    st.binary(max_size=60), st.sampled_from((b"", b"\x15\x03\x01", b"HTTP/1.1 200 OK\r\n", b"\r\n" * 500))
)


@st.composite
def responses(draw: st.DrawFn, body: Strategy[str]) -> bytes:
    """Return what a server writes in response to a request."""
    kind = draw(st.integers(0, 19))
    if kind == 0:
        return draw(NO_RESPONSES)
    headers = [*draw(mostly(USUAL, st.just([]))), *draw(evenly(st.just([]), st.lists(WIRE_HEADERS, max_size=3)))]
    ending = draw(mostly(st.just("\r\n"), st.sampled_from(("\n", "\r", "\r\n "))))
    head = ending.join((draw(STATUS_LINES), *(f"{name}: {value}" for name, value in headers)))
    before = "HTTP/1.1 100 Continue\r\nDocker-Content-Digest: x\r\n\r\n" if kind == 1 else ""
    text = draw(body)
    if kind in {2, 3}:
        text = f"{len(text):x}\r\n{text}\r\n0\r\n\r\n"
    after = NEXT if kind == 4 else b""  # the response to the next request, already
    return f"{before}{head}\r\n\r\n{text}".encode("latin-1", "replace") + after


class Conversation(NamedTuple):
    """The responses of a registry to pings, token requests and HEAD requests, each in order, and the `digest` asked for."""

    pings: list[bytes]
    tokens: list[bytes]
    heads: list[bytes]
    keeps_connections: bool
    digest: str | None


def _challenge(text: str) -> bytes:
    return f"HTTP/1.1 401 U\r\nContent-Length: 0\r\nWWW-Authenticate: {text}\r\n\r\n".encode("latin-1")


def _token(body: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(content := to_bytes(body))}\r\n\r\n".encode() + content


GOOD_PING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
PINGS = evenly(st.just(GOOD_PING), CHALLENGES.map(_challenge), responses(st.just("{}")))
GOOD_TOKENS = TOKENS.map(json.dumps).map(_token)
TOKEN_RESPONSES = evenly(st.just(GOOD_TOKEN), GOOD_TOKENS, TOKEN_BODIES.map(_token), responses(TOKEN_BODIES))
CONVERSATIONS = st.builds(
    Conversation,
    st.lists(PINGS, min_size=1, max_size=2),
    st.lists(TOKEN_RESPONSES, min_size=1, max_size=2),
    st.lists(responses(mostly(st.just(""), TEXT)), min_size=1, max_size=3),
    mostly(st.just(False), st.just(True)),  # noqa: FBT003
    st.sampled_from((None, None, GOOD_DIGEST)),
)
STATUSES = mostly(st.sampled_from((200, 401, 401, 401)), st.sampled_from((0, 204, 307, 403, 408, 429, 500, 999)))
# The status and the challenges of a ping, and the status and the body of a token.
AUTHENTICATIONS = st.tuples(
    STATUSES,
    st.lists(evenly(CHALLENGES, CHALLENGES, LINES), max_size=2),
    mostly(st.just(200), STATUSES),
    mostly(TOKENS.map(json.dumps), ODD_TOKENS).map(to_bytes),
)

# What crane prints

_FOR_URLS = (quote(OTHER_CANARY), quote(OTHER_CANARY, safe=""))
_ENCODED = (base64.b64encode(f"alice:{OTHER_CANARY}".encode()).decode(), OTHER_CANARY.encode().hex())
FORMS = (OTHER_CANARY, json.dumps(OTHER_CANARY)[1:-1], html.escape(OTHER_CANARY), *_FOR_URLS, *_ENCODED)
CRANE_WORDS = (
    *("Error: ", "\nError: ", "HEAD https://a.example/v2/app/manifests/1: ", 'Get "https://a.example/v2/": ', "; ", ": EOF"),
    *("unexpected status code 404 Not Found", "unexpected status code 999", "TOOMANYREQUESTS: x", "DENIED: ", ": dial "),
    *(
        "tls: x509: ",
        "server gave HTTP response to HTTPS client",
        "fatal error: runtime: out of memory\n\ngoroutine 1",
        "panic: ",
    ),
    *(
        "Authorization: Bearer eyJ.x",
        f"Basic {CANARY}",
        f"https://a.example/x?token={CANARY}&sig=x",
        "\ufffd",
        "proxyconnect tcp: ",
    ),
    *(
        "\r",
        "\x1b[31m",
        "\n2026-01-01 00:00:00 INFO    pass done",
        "{}",
        "; Get http://a.example/v2/: ",
        ": x509: certificate",
    ),
    *("Resource temporarily unavailable", *FORMS),
)
STDERR = st.lists(st.one_of(st.sampled_from(CRANE_WORDS), TEXT), max_size=8).map("".join)
RUN_HEADS = ("", "?", "?token=", "?a", "Error: ", "https://", "Bearer ", "; Get ", "fatal error: ", "https://a.example/?sig=")
RUN_PIECES = (
    *(
        "a",
        ":",
        ";",
        ".",
        "=",
        "?",
        "&",
        "@",
        " ",
        "\n",
        "\0",
        "token",
        "sig=",
        "?token=",
        "https://",
        "; Ab http://",
        "Error: ",
    ),
    *("fatal error: ", "unexpected status code ", "GET https://a: ", ": dial", "%41", "[", "x,", "a-", "a.", "/a", "@sha256:"),
    *(":x509", "Basic a", ": ABC", "?passw", "{", '"', "\\", "a=1,", 'a="b",'),
)
RUN_TAILS = ("", "a", "=", "=a", " ", "\n", '"', "@", ":", "memory", "unexpected status code 404")
RUNS = st.tuples(
    st.sampled_from(RUN_HEADS), st.sampled_from(RUN_PIECES), st.sampled_from(RUN_PIECES), st.sampled_from(RUN_TAILS)
)


def run_of(parts: tuple[str, str, str, str], length: int) -> str:
    """Return a text of about `length` characters that repeats a piece, which an expression may read again and again."""
    head, first, second, tail = parts
    return head + (first * 3 + second) * (length // len(first * 3 + second)) + tail
