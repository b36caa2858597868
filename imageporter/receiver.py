"""The receiver of pushes: what it answers to whom, as an ASGI application."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from loguru import logger
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from imageporter import logs, reference, report
from imageporter.callers import Callers
from imageporter.database import FAILURES
from imageporter.hook_queue import FullError, Put, Queue
from imageporter.reference import Reference
from imageporter.report import Clock
from imageporter.routes import Routes
from imageporter.rules import Image
from imageporter.senders import SENDERS, Push
from imageporter.settings import Settings
from imageporter.stop import time_limit

BODY_LIMIT = 1 << 20
MOST_STRANGERS = 8
MATCHING_SECONDS = 1
RETRY_AFTER = {"Retry-After": "60"}
SNAPSHOT = "SNAPSHOT"
LONGEST_LINE = 1000
NOT_AS_DOCUMENTED = (LookupError, TypeError, ValueError, AttributeError)


class IgnoredError(Exception):
    """A push that nobody waits for; the text says why."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


class Receiver:
    """Takes pushes, finds out where they go, and puts them into the queue."""

    def __init__(self, settings: Settings, routes: Callable[[], Routes], queue: Queue) -> None:
        self._settings = settings
        self._routes = routes
        self._queue = queue
        self._callers = Callers(settings)
        self._strangers = asyncio.Semaphore(MOST_STRANGERS)

    def application(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/images/sync/hook", self._told(self._hook), methods=["GET", "POST"]),
            Route("/hooks/{sender}", self._told(self._event), methods=["POST"]),
            Route("/hooks/{sender}/{token:path}", self._told(self._event), methods=["POST"]),
            Route("/status", self._told(self._status), methods=["GET"]),
            Route("/healthz", _healthz, methods=["GET"]),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _refused})

    def _told(self, work: Callable[[Request], Awaitable[JSONResponse]]) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that logs what `work` answers, and turns what it raises into an answer."""

        async def endpoint(request: Request) -> Response:
            clock = Clock()
            try:
                self._admit(request)
                answer = await work(request)
            except HTTPException as error:
                answer = _refused(request, error)
            except FullError as error:
                answer = _answer(503, {"error": f"{error}; send it again later"}, RETRY_AFTER)
            except (*FAILURES, OSError) as error:
                answer = _answer(503, {"error": f"the queue cannot be used: {error}; send it again later"}, RETRY_AFTER)
            except ClientDisconnect:
                answer = _answer(400, {"error": "the caller went away, or was too slow"})
            except Exception as error:
                logs.bug(error)
                answer = _answer(500, {"error": "a mistake of ImagePorter's; its log says more"})
            _log(request, answer, clock)
            return answer

        return endpoint

    def _admit(self, request: Request) -> None:
        if request.method == "HEAD":  # which Starlette adds to GET
            raise HTTPException(405, "HEAD is not for here; use GET or POST", {"Allow": "GET, POST"})
        if not self._callers.admits(_address(request)):
            raise HTTPException(429, f"more than {self._settings.hook_rate} calls a second", {"Retry-After": "10"})

    async def _hook(self, request: Request) -> JSONResponse:
        """The call of the specification: `?name=registry/namespace/image&tag=1.0.3`."""
        if not self._callers.knows(request.headers):
            raise _unauthorised()
        await _body(request)
        name, tag = (_parameter(request, each) for each in ("name", "tag"))
        try:
            images = self._images(await self._known_routes(), (None, name, tag))
        except IgnoredError as ignored:
            if ignored.status == 200:
                return _answer(200, {"queued": [], "already": [], "ignored": [str(ignored)]})
            raise HTTPException(ignored.status, str(ignored)) from None
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        return await self._put(images)

    async def _event(self, request: Request) -> JSONResponse:
        """What a registry sends. What is of no use is answered 200 too: most would send it again, for ever."""
        body = await self._known_body(request)
        sender = request.path_params["sender"]
        if sender not in SENDERS:
            raise HTTPException(404, f"the senders are {', '.join(SENDERS)}")
        try:
            pushes = _checked(SENDERS[sender](_decoded(body, request.headers), request.headers))
        except NOT_AS_DOCUMENTED:
            raise HTTPException(400, f"the body is not what {sender} sends") from None
        registry = request.query_params.get("registry")
        images, ignored = self._wanted(await self._known_routes(), pushes, registry)
        if not images:
            return _answer(200, {"queued": [], "already": [], "ignored": ignored or ["it is no push of a tag"]})
        return await self._put(images, ignored)

    async def _known_body(self, request: Request) -> bytes:
        """The body, of a caller that is known; by a signature, which is over the body, few are let in at once."""
        headers, token = request.headers, request.path_params.get("token")
        if self._callers.knows(headers) or (token is not None and self._callers.knows_token(token)):
            return await _body(request)
        if "x-hub-signature-256" in headers:
            async with self._strangers:
                body = await _body(request)
            if self._callers.signed(body, headers):
                return body
        raise _unauthorised()

    async def _known_routes(self) -> Routes:
        return await asyncio.to_thread(self._routes)  # which may read a large file

    def _wanted(self, routes: Routes, pushes: Iterable[Push], registry: str | None) -> tuple[list[Image], list[str]]:
        """The images of those pushes that somebody waits for, and why the others are ignored."""
        images: list[Image] = []
        ignored = []
        for host, repository, tag in pushes:
            try:
                images += self._images(routes, (registry or host, repository, tag))
            except (IgnoredError, *NOT_AS_DOCUMENTED) as error:
                ignored.append(str(error))
        return images, ignored

    def _images(self, routes: Routes, push: Push) -> tuple[Image, ...]:
        """Where the push goes. Raises IgnoredError where that is nowhere, ValueError where it is no push."""
        host, name, tag = push
        pushed = _pushed(name if host is None else f"{host}/{name}", tag)
        if not self._settings.hook_snapshots and (tag.startswith(SNAPSHOT) or tag.endswith(SNAPSHOT)):
            raise IgnoredError(406, f"{tag!r} is a {SNAPSHOT} tag, which is not synced (HOOK_SNAPSHOTS=true: it is)")
        try:
            # Here, in the main thread: a regular expression may search for ever, and lets no other thread run meanwhile.
            with time_limit(MATCHING_SECONDS):
                images, left = routes.of(pushed), routes.left(pushed)
        except TimeoutError:
            logger.error("a pattern searches {} without an end; make it simpler", pushed)
            raise IgnoredError(503, f"a pattern of the images file searches {pushed} without an end") from None
        if not images and left:
            raise IgnoredError(200, f"{pushed} is left to the next full pass: {left.text} renames what it matches")
        if not images:
            raise IgnoredError(404, f"no rule and no row of registry.reg has the source {pushed}")
        return images

    async def _put(self, images: Iterable[Image], ignored: Iterable[str] = ()) -> JSONResponse:
        put: Put = await asyncio.to_thread(self._queue.put, images, self._settings.hook_queue)
        content: dict[str, Any] = {"queued": _pairs(put.queued), "already": _pairs(put.already)}
        return _answer(202 if put.queued else 200, content | ({"ignored": list(ignored)} if ignored else {}))

    async def _status(self, request: Request) -> JSONResponse:
        """The queue, and the last pass."""
        if not self._callers.knows(request.headers):
            raise _unauthorised()
        queue = await asyncio.to_thread(self._queue.status)
        for row in (queue, *queue["waiting"]):
            name = "since" if "since" in row else "oldest"
            row[name] = row[name] and datetime.fromtimestamp(row[name]).astimezone().isoformat(timespec="seconds")
        last = {
            name: await asyncio.to_thread(report.read, self._settings.data_dir / file)
            for name, file in (("last_pass", report.REPORT), ("last_queue_run", report.QUEUE_REPORT))
        }
        return _answer(200, {"queue": queue, **last})


async def _healthz(_: Request) -> JSONResponse:
    return _answer(200, {"status": "ok"})


async def _body(request: Request) -> bytes:
    """The body, of BODY_LIMIT bytes at most."""
    too_large = HTTPException(413, f"the body is larger than {BODY_LIMIT} bytes", {"Connection": "close"})
    declared = request.headers.get("content-length", "0")
    if len(declared) > len(str(BODY_LIMIT)) or int(declared) > BODY_LIMIT:
        raise too_large
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_LIMIT:
            raise too_large
    return bytes(body)


def _decoded(body: bytes, headers: Mapping[str, str]) -> Any:
    """The JSON of a body, which GitHub may also send as the field `payload` of a form. ValueError where it is none."""
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded") and body.startswith(b"payload="):
        body = parse_qs(body.decode(), strict_parsing=True)["payload"][0].encode()
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _checked(pushes: Iterable[Push]) -> list[Push]:
    """Those `pushes` that are of texts. Raises TypeError where a payload has something else in all of them."""
    found = list(pushes)
    texts = [push for push in found if all(isinstance(part, str) for part in (push[0] or "", *push[1:]))]
    if found and not texts:
        raise TypeError("is no text")
    return texts


def _parameter(request: Request, name: str) -> str:
    given = request.query_params.getlist(name)
    if len(given) != 1 or not given[0]:
        how = "is given more than once" if len(given) > 1 else "is missing"
        raise HTTPException(400, f"{name} {how}; write ?name=registry/namespace/image&tag=1.0.3")
    return given[0]


def _pushed(name: str, tag: str) -> Reference:
    """The repository `name` with `tag`. Raises ValueError, and IgnoredError for a name of one part, as image-syncer does."""
    if "/" not in name.strip("/"):
        raise IgnoredError(406, f"{reference.shown(name)!r} has fewer than two parts; write registry/namespace/image")
    parsed = reference.parse(name)
    if parsed.tag or parsed.digest:
        raise ValueError(f"{reference.shown(name)!r} has a tag or digest; give the repository alone")
    return Reference(parsed.host, parsed.path, reference.parse_tag(tag, tag))


def _pairs(images: Iterable[Image]) -> list[dict[str, str]]:
    return [{"source": str(image.source), "target": str(image.target)} for image in images]


def _unauthorised() -> HTTPException:
    return HTTPException(401, "wrong or no credentials", {"WWW-Authenticate": 'Basic realm="ImagePorter", charset="UTF-8"'})


def _refused(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    return _answer(error.status_code, {"error": error.detail}, error.headers)


def _answer(status: int, content: dict[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse(content, status, headers)


def _address(request: Request) -> str:
    return request.client.host if request.client else "?"


def _log(request: Request, answer: JSONResponse, clock: Clock) -> None:
    """One line a call; of the caller's text only what the answer says, and no query string or path with a token."""
    said = json.loads(bytes(answer.body))
    sender = request.path_params.get("sender")
    sender = sender if sender in SENDERS else None
    who = f"{_address(request)}, {sender}" if sender else _address(request)
    queued = [f"{row['source']} -> {row['target']}" for row in said.get("queued", ())]
    words = said.get("error") or ", ".join(said.get("ignored", ())) or "already queued"
    words = f"queued {', '.join(queued)}" if queued else words
    words = "asked for the status" if request.url.path == "/status" and answer.status_code == 200 else words
    logs.event(
        "hook.received",
        logs.plain(f"hook: {answer.status_code} to {who}: {words}")[:LONGEST_LINE],
        "INFO" if answer.status_code < 400 else "WARNING",
        status=answer.status_code,
        caller=_address(request),
        sender=sender,
        source=said["queued"][0]["source"] if len(queued) == 1 else None,
        target=said["queued"][0]["target"] if len(queued) == 1 else None,
        queued=len(queued) if "queued" in said else None,
        already=len(said["already"]) if "already" in said else None,
        error=logs.plain(said["error"]) if "error" in said else None,
        seconds=round(clock.seconds, 3),
    )
