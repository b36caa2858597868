"""Hostile requests to the hook, webhooks, responses of registries, and output of crane."""

import asyncio
import itertools
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlencode

import hostile_wire as hostile
from feeder import Target, check_messages, expect
from hostile_input import CANARY, OTHER_CANARY
from hostile_wire import FORMS, PORT, Conversation, HookRequest, Webhook, run_of
from hypothesis import strategies as st
from odd_server import Connections

from imageporter.config.configuration import FOR_HOOK, load_configuration
from imageporter.config.settings import Secret, Settings
from imageporter.hook.app import create_app
from imageporter.hook.reload import RouteReloader
from imageporter.model import reference
from imageporter.model.account import Account, Accounts
from imageporter.model.image import Image
from imageporter.model.outcome import Outcome, Status
from imageporter.model.reference import Reference
from imageporter.model.rule import parse_selector
from imageporter.registry.authenticator import Authenticator, Response, TooManyRequestsError, parse_token
from imageporter.registry.challenge import is_allowed_realm, parse_bearer
from imageporter.registry.client import Client
from imageporter.registry.errors import LONGEST_DETAIL, ErrorKind, RegistryError
from imageporter.registry.redaction import SecretMasker
from imageporter.store.push_queue import open_queue
from imageporter.store.records import open_records
from imageporter.system.errors import Problems
from imageporter.system.plain_log import to_plain_line
from imageporter.system.stopwatch import Stopwatch

QUEUE_LIMIT = 200
KINDS = {ErrorKind.RATE_LIMITED, ErrorKind.TIMED_OUT}
DIGEST_HEADER = re.compile(rb"^docker-content-digest[ \t]*:[ \t]*(.*?)[ \t]*$", re.IGNORECASE | re.MULTILINE)
REQUIRED_HEADERS = (rb"(?im)^content-type[ \t]*:[ \t]*\S", rb"(?im)^content-length[ \t]*:[ \t]*[0-9]")
LOOKUP_SECONDS = 0.5
IDLE_SECONDS = 0.01
TLS_HANDSHAKE = b"\x16"
LENGTHS = (2_000, 20_000, 200_000, 1_000_000)  # the last is what is kept of crane's stderr


def targets(stack: ExitStack, folder: Path) -> Iterator[Target]:
    """Yield the targets. The working directory is `folder`."""
    loop = asyncio.new_event_loop()
    stack.callback(loop.close)
    unhandled: list[str] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(str(context.get("exception") or context["message"])))
    (folder / "images.json").write_text(json.dumps(hostile.RULES))
    hook = stack.enter_context(HookCaller.of(loop, folder))
    yield Target("requests to the hook", hostile.HOOK_REQUESTS, hook.request, 25_000, 400)
    yield Target("the status page", hostile.PAGE_REQUESTS, hook.page, 15_000, 200)
    yield Target("webhooks", hostile.webhooks(), hook.webhook, 18_000, 300)
    yield Target("challenges and tokens", hostile.AUTHENTICATIONS, partial(authenticate, loop), 20_000, 300)
    registry = HostileRegistry(loop, unhandled)
    stack.callback(registry.close)
    yield Target("responses of a registry", hostile.CONVERSATIONS, registry.look_up, 5_000, 80, seconds=4 * LOOKUP_SECONDS)
    yield Target("crane's stderr", st.tuples(hostile.STDERR, st.integers(-9, 255)), read_stderr, 20_000, 300)
    yield Target("passwords in texts", hostile.STDERR, mask, 20_000, 400)
    runs = st.tuples(hostile.RUNS, st.sampled_from(LENGTHS))
    yield Target("long texts of repetitions", runs, read_run, 800, 20, shrinks=False)


class HookCaller:
    """Calls the hook's application, as uvicorn does."""

    ACCOUNT = ("me", CANARY)

    def __init__(self, loop: asyncio.AbstractEventLoop, app: Any) -> None:
        self._loop = loop
        self._app = app

    @classmethod
    @contextmanager
    def of(cls, loop: asyncio.AbstractEventLoop, folder: Path) -> Iterator["HookCaller"]:
        """Yield a caller of the application with the files and a queue in `folder`, the working directory."""
        username, password = map(Secret, cls.ACCOUNT)
        settings = Settings(
            hook_username=username,
            hook_password=password,
            hook_token=password,
            hook_rate=0,
            hook_queue_limit=QUEUE_LIMIT,
            data_dir=folder,
        )
        problems = Problems()
        configuration = load_configuration(settings, problems, FOR_HOOK)
        problems.raise_if_any()
        image = Image("", Reference("a.example", "x", "1"), Reference("b.example", "x", "1"))
        with open_records(folder) as records:
            failed = Outcome(image, Status.FAILED, error=" ".join(hostile.MARKUP))
            records.record_outcomes([failed], Stopwatch(), is_complete=True)
        with open_queue(folder, required=True) as queue:
            yield cls(loop, create_app(settings, RouteReloader(settings, configuration), queue))
            loop.run_until_complete(loop.shutdown_default_executor())

    def request(self, request: HookRequest) -> None:
        """Send a request of a client."""
        self._call(request)

    def page(self, request: HookRequest) -> None:
        """Send a request of a browser."""
        status, body = self._loop.run_until_complete(self._respond(request))
        expect(status in hostile.PAGE_STATUSES, f"the status page answers {status}")
        expect(b"<script" not in body, "the status page shows text as HTML")
        expect(CANARY not in body.decode(), "the status page shows a password")

    def webhook(self, webhook: Webhook) -> None:
        """Send a webhook of a registry, with the token."""
        query = [] if webhook.registry is None else [("registry", webhook.registry)]
        headers = [("x-hook-token", CANARY), ("x-github-event", webhook.event)]
        self._call(HookRequest("POST", f"/hooks/{webhook.sender}", query, headers, webhook.body, False))  # noqa: FBT003

    def _call(self, request: HookRequest) -> None:
        status, body = self._loop.run_until_complete(self._respond(request))
        expect(status in hostile.HOOK_STATUSES, f"the hook answers {status}")
        content = json.loads(body) if body.startswith(b"{") else {}  # else it is the status page
        expect(status < 400 or content.get("error"), "a response has no reason")
        expect(CANARY not in body.decode(), "a response shows a password")

    async def _respond(self, request: HookRequest) -> tuple[int, bytes]:
        """Return the status and the body of the response."""
        raw_path = quote(request.path.encode(errors="surrogatepass"))
        pairs = [(name.encode(errors="surrogatepass"), value.encode(errors="surrogatepass")) for name, value in request.query]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": request.method,
            "path": unquote(raw_path),
            "raw_path": raw_path.encode(),
            "query_string": urlencode(pairs).encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in request.headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        half = len(request.body) // 2
        events: list[dict[str, Any]] = [{"type": "http.request", "body": request.body[:half], "more_body": True}]
        if not request.disconnects:
            events.append({"type": "http.request", "body": request.body[half:], "more_body": False})
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return events.pop(0) if events else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


class HostileRegistry:
    """A server that responds as a conversation says, and a client that looks up digests there."""

    def __init__(self, loop: asyncio.AbstractEventLoop, unhandled: list[str]) -> None:
        self._loop = loop
        self._unhandled = unhandled
        self._open = Connections(self._converse)
        self._server = loop.run_until_complete(asyncio.start_server(self._open, "127.0.0.1", 0, limit=1 << 20))
        self._address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._scripts: dict[str, Iterator[bytes]] = {}
        self._head = b""  # the last response to HEAD

    def close(self) -> None:
        """Stop serving."""
        self._server.close()
        self._loop.run_until_complete(self._server.wait_closed())

    def look_up(self, conversation: Conversation) -> None:
        """Look up a source and a target, and check what comes of it."""
        self._loop.run_until_complete(self._look_up(conversation))
        expect(not self._unhandled, f"the event loop reports: {self._unhandled}")

    async def _look_up(self, conversation: Conversation) -> None:
        self._keeps_connections = conversation.keeps_connections
        for name in ("pings", "tokens", "heads"):
            self._scripts[name] = itertools.cycle(getattr(conversation, name))
        accounts = Accounts({self._address: Account(self._address, "alice", CANARY)})
        # A realm may name any host. The proxy is this server, so that no request leaves the machine.
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), f"http://{self._address}")
        async with Client(accounts, None, proxies, width=8) as client:
            for subject in ("source", "target"):
                image = Reference(self._address, "team/app", "v1", conversation.digest)
                try:
                    digest = await client.digest(subject, image, LOOKUP_SECONDS)
                except RegistryError as error:
                    expect(
                        error.kind in KINDS | ({ErrorKind.NOT_FOUND} if subject == "target" else set()),
                        f"{subject} {error.kind.value}",
                    )
                    check_messages([str(error)])
                    continue
                expect(digest is None or is_certain(self._head, digest, conversation.digest), "a digest is believed")
        await self._open.cancel()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                first = await reader.readexactly(1)
            if first == TLS_HANDSHAKE:
                return
            method, target, *_ = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split(" ", 2)
            script = "heads" if method == "HEAD" else "pings" if target == "/v2/" else "tokens"
            response = next(self._scripts[script]).replace(PORT.encode(), self._address.rpartition(":")[2].encode())
            if script == "heads":
                self._head = response
            writer.write(response)
            await writer.drain()
            if not self._keeps_connections:
                return


def authenticate(loop: asyncio.AbstractEventLoop, given: tuple[int, list[str], int, bytes]) -> None:
    """Authenticate with a registry, whose responses are not sent over a network."""
    ping_status, challenges, token_status, body = given
    ping_headers = {"www-authenticate": [text.replace(PORT, "5000") for text in challenges]}

    async def send(method: str, url: str, headers: list[str], *, insecure: bool) -> Response:  # noqa: ARG001
        is_ping = url.endswith("/v2/")
        expect(is_ping or url.isascii(), "a request has an odd URL")
        return (
            Response(f"{method} {url}", ping_status, ping_headers, b"") if is_ping else Response(url, token_status, {}, body)
        )

    authenticator = Authenticator(Accounts({"127.0.0.1:5000": Account("127.0.0.1:5000", "alice", CANARY)}), send)
    with suppress(TooManyRequestsError):
        for _ in range(2):  # the second time with what is remembered
            access = loop.run_until_complete(authenticator.access(Reference("127.0.0.1:5000", "team/app"), 1))
            lines = access.headers if access else []
            expect(all(line.isascii() and line.isprintable() for line in lines), "a request has an odd header")


def is_certain(response: bytes, digest: str, wanted: str | None) -> bool:
    """Return whether `response`, as it was written, is one unambiguous 200 with `digest`."""
    head = response.replace(b"\r\n", b"\n")
    while re.match(rb"HTTP/\S+ 1[0-9][0-9]", head):
        head = head.partition(b"\n\n")[2]
    head = head.partition(b"\n\n")[0]
    return (
        re.match(rb"HTTP/[0-9.]+ 200\b", head) is not None
        and DIGEST_HEADER.findall(head) == [digest.encode()]
        and re.fullmatch("sha256:[0-9a-f]{64}", digest) is not None
        and all(re.search(header, head) for header in REQUIRED_HEADERS)
        and digest == (wanted or digest)
    )


def read_stderr(given: tuple[str, int]) -> None:
    """Make an error of what crane has printed."""
    error = RegistryError.from_crane_stderr("source", *given)
    expect(isinstance(error.kind, ErrorKind), "an error has no kind")
    redacted = RegistryError(
        error.subject, error.kind, to_plain_line(masker().mask(error.detail))[:LONGEST_DETAIL], "a.example"
    )
    check_messages([str(redacted), redacted.reason])


def masker() -> SecretMasker:
    """Return a masker of both passwords."""
    made = SecretMasker()
    for password in (CANARY, OTHER_CANARY):
        made.add("alice", password)
    return made


def mask(text: str) -> None:
    """Mask the passwords in a text, in every form."""
    masked = masker().mask(text)
    expect(not any(form in masked for form in FORMS), "a password is not masked")


def read_run(given: tuple[tuple[str, str, str, str], int]) -> None:
    """Give a long repetition to what reads the texts of strangers."""
    text = run_of(*given)
    read_stderr((text, 1))
    read_stderr((f"Error: GET https://a.example/v2/: unexpected status code 400 Bad Request: {text}", 1))
    parse_bearer(f"Bearer {text}")
    is_allowed_realm(text, "a.example", plain_http=True)
    parse_token(text.encode())
    for parser in (reference.parse, parse_selector, reference.parse_prefix):
        with suppress(ValueError):
            parser(text)
