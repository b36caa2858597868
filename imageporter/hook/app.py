"""The receiver of pushes: what it answers to whom, as an ASGI application."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any

from loguru import logger
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from imageporter.system import logs
from imageporter.model import reference
from imageporter.engine import summary
from imageporter.hook.authentication import Callers
from imageporter.hook.responses import address_of, answer, body_of, decoded, log, parameter, refused, unauthorised
from imageporter.store.database import FAILURES
from imageporter.store.push_queue import FullError, Put, Queue
from imageporter.model.reference import Reference
from imageporter.engine.summary import Clock
from imageporter.hook.routes import Routes
from imageporter.model.rule import Image
from imageporter.hook.webhooks import SENDERS, Push
from imageporter.config.settings import Settings
from imageporter.system.signals import time_limit

MOST_STRANGERS = 8
MATCHING_SECONDS = 1
RETRY_AFTER = {"Retry-After": "60"}
SNAPSHOT = "SNAPSHOT"
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
        return Starlette(routes=routes, exception_handlers={HTTPException: refused})

    def _told(self, work: Callable[[Request], Awaitable[JSONResponse]]) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that logs what `work` answers, and turns what it raises into an answer."""

        async def endpoint(request: Request) -> Response:
            clock = Clock()
            try:
                self._admit(request)
                told = await work(request)
            except HTTPException as error:
                told = refused(request, error)
            except FullError as error:
                told = answer(503, {"error": f"{error}; send it again later"}, RETRY_AFTER)
            except (*FAILURES, OSError) as error:
                told = answer(503, {"error": f"the queue cannot be used: {error}; send it again later"}, RETRY_AFTER)
            except ClientDisconnect:
                told = answer(400, {"error": "the caller went away, or was too slow"})
            except Exception as error:
                logs.bug(error)
                told = answer(500, {"error": "a mistake of ImagePorter's; its log says more"})
            log(request, told, clock)
            return told

        return endpoint

    def _admit(self, request: Request) -> None:
        if request.method == "HEAD":  # which Starlette adds to GET
            raise HTTPException(405, "HEAD is not for here; use GET or POST", {"Allow": "GET, POST"})
        if not self._callers.admits(address_of(request)):
            raise HTTPException(429, f"more than {self._settings.hook_rate} calls a second", {"Retry-After": "10"})

    async def _hook(self, request: Request) -> JSONResponse:
        """The call of the specification: `?name=registry/namespace/image&tag=1.0.3`."""
        if not self._callers.knows(request.headers):
            raise unauthorised()
        await body_of(request)
        name, tag = (parameter(request, each) for each in ("name", "tag"))
        try:
            images = self._images(await self._known_routes(), (None, name, tag))
        except IgnoredError as ignored:
            if ignored.status == 200:
                return answer(200, {"queued": [], "already": [], "ignored": [str(ignored)]})
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
            pushes = _checked(SENDERS[sender](decoded(body, request.headers), request.headers))
        except NOT_AS_DOCUMENTED:
            raise HTTPException(400, f"the body is not what {sender} sends") from None
        registry = request.query_params.get("registry")
        images, ignored = self._wanted(await self._known_routes(), pushes, registry)
        if not images:
            return answer(200, {"queued": [], "already": [], "ignored": ignored or ["it is no push of a tag"]})
        return await self._put(images, ignored)

    async def _known_body(self, request: Request) -> bytes:
        """The body, of a caller that is known; by a signature, which is over the body, few are let in at once."""
        headers, token = request.headers, request.path_params.get("token")
        if self._callers.knows(headers) or (token is not None and self._callers.knows_token(token)):
            return await body_of(request)
        if "x-hub-signature-256" in headers:
            async with self._strangers:
                body = await body_of(request)
            if self._callers.signed(body, headers):
                return body
        raise unauthorised()

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
        return answer(202 if put.queued else 200, content | ({"ignored": list(ignored)} if ignored else {}))

    async def _status(self, request: Request) -> JSONResponse:
        """The queue, and the last pass."""
        if not self._callers.knows(request.headers):
            raise unauthorised()
        queue = await asyncio.to_thread(self._queue.status)
        for row in (queue, *queue["waiting"]):
            name = "since" if "since" in row else "oldest"
            row[name] = row[name] and datetime.fromtimestamp(row[name]).astimezone().isoformat(timespec="seconds")
        last = {
            name: await asyncio.to_thread(report.read, self._settings.data_dir / file)
            for name, file in (("last_pass", report.REPORT), ("last_queue_run", report.QUEUE_REPORT))
        }
        return answer(200, {"queue": queue, **last})


async def _healthz(_: Request) -> JSONResponse:
    return answer(200, {"status": "ok"})


def _checked(pushes: Iterable[Push]) -> list[Push]:
    """Those `pushes` that are of texts. Raises TypeError where a payload has something else in all of them."""
    found = list(pushes)
    texts = [push for push in found if all(isinstance(part, str) for part in (push[0] or "", *push[1:]))]
    if found and not texts:
        raise TypeError("is no text")
    return texts


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
