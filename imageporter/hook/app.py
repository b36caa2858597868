"""The webhook receiver as an ASGI application: it answers pushes, and queues the images that they ask for."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from imageporter.config.settings import Settings
from imageporter.hook.authentication import Authenticator
from imageporter.hook.pages import Pages
from imageporter.hook.rate_limit import BodyLimit, LogLimit, TokenBucket
from imageporter.hook.reload import RouteReloader
from imageporter.hook.responses import (
    NO_PUSH,
    client_address,
    declared_length,
    decode_json,
    error_response,
    image_rows,
    log_response,
    query_parameter,
    read_body,
    response,
    unauthorised,
)
from imageporter.hook.routes import Routes
from imageporter.hook.webhooks import SENDERS, UNEXPECTED_PAYLOAD, Push
from imageporter.model import reference
from imageporter.model.image import Image
from imageporter.model.reference import Reference
from imageporter.store.database import DATABASE_ERRORS
from imageporter.store.push_queue import PushQueue, QueueFullError
from imageporter.system import logs
from imageporter.system.stopwatch import Stopwatch

RETRY_AFTER = {"Retry-After": "60"}
REJECTED = frozenset({401, 405, 408, 429})  # a stranger may cause these
SNAPSHOT = "SNAPSHOT"
OTHER_SITES = frozenset({"cross-site", "same-site"})  # https://www.w3.org/TR/fetch-metadata/

Endpoint = Callable[[Request], Awaitable[Response]]


class IgnoredPushError(Exception):
    """A push that asks for no image. The text says why; `status` is the HTTP status for a caller who asked for it by name."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


def create_app(settings: Settings, reloader: RouteReloader, queue: PushQueue) -> Starlette:
    """Return the ASGI application."""
    authenticator = Authenticator(settings)
    endpoints = _Endpoints(settings, reloader, queue, authenticator)
    pages = Pages(settings, reloader, queue, authenticator)
    routes = [
        Route("/images/sync/hook", endpoints.handle(endpoints.hook), methods=["GET", "POST"]),
        Route("/hooks/{sender}", endpoints.handle(endpoints.webhook), methods=["POST"]),
        Route("/hooks/{sender}/{token:path}", endpoints.handle(endpoints.webhook), methods=["POST"]),
        Route("/status", endpoints.handle(pages.status), methods=["GET"]),
        Route("/metrics", endpoints.handle(pages.metrics), methods=["GET"]),
        Route("/", endpoints.handle(pages.page), methods=["GET"]),
        Route("/page.css", endpoints.handle(pages.style_sheet), methods=["GET"]),
        Route("/sync", endpoints.handle(pages.sync), methods=["GET", "POST"]),
        Route("/healthz", _healthz, methods=["GET"]),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: error_response})
    app.router.redirect_slashes = False  # the redirect would go to whatever the request calls its host
    return app


class _Endpoints:
    def __init__(self, settings: Settings, reloader: RouteReloader, queue: PushQueue, authenticator: Authenticator) -> None:
        self._settings = settings
        self._reloader = reloader
        self._queue = queue
        self._authenticator = authenticator
        self._bucket = TokenBucket(settings.hook_rate)
        self._unauthenticated_bodies = BodyLimit()
        self._log_limit = LogLimit()

    def handle(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """Return `endpoint` with the rate limit before it, every error turned into a response, and the response logged."""

        async def handler(request: Request) -> Response:
            stopwatch = Stopwatch()
            sent = await self._respond(endpoint, request)
            if sent.status_code not in REJECTED or self._log_limit.allow(client_address(request), sent.status_code):
                log_response(request, sent, stopwatch)
            return sent

        return handler

    async def _respond(self, endpoint: Endpoint, request: Request) -> Response:
        try:
            if not self._bucket.allow(client_address(request)):
                reason = f"more than {self._settings.hook_rate} requests per second"
                raise HTTPException(429, reason, {"Retry-After": "10"})  # noqa: TRY301
            if request.method == "HEAD":  # Starlette adds it to GET
                raise HTTPException(405, "HEAD is not supported; use GET or POST", {"Allow": "GET, POST"})  # noqa: TRY301
            if _is_from_other_site(request):
                raise HTTPException(403, "a page of another site may not call")  # noqa: TRY301
            return await endpoint(request)
        except HTTPException as error:
            return error_response(request, error)
        except QueueFullError as error:
            return response(503, {"error": f"{error}; send it again later"}, RETRY_AFTER)
        except (*DATABASE_ERRORS, OSError) as error:
            return response(503, {"error": f"the queue cannot be used: {error}; send it again later"}, RETRY_AFTER)
        except ClientDisconnect:
            return response(400, {"error": "the client disconnected, or was too slow"})
        except Exception as error:
            logs.log_bug(error)
            return response(500, {"error": "internal error; see ImagePorter's log"})

    async def hook(self, request: Request) -> JSONResponse:
        """Handle the request of the specification: `?name=registry/namespace/image&tag=1.0.3`."""
        if not self._authenticator.authenticate(request.headers):
            raise unauthorised()
        await read_body(request)
        name, tag = (query_parameter(request, key) for key in ("name", "tag"))
        try:
            images = self._images(await self._routes(), (None, name, tag))
        except IgnoredPushError as ignored:
            if ignored.status == 200:
                return response(200, {"queued": [], "already": [], "ignored": [str(ignored)]})
            raise HTTPException(ignored.status, str(ignored)) from None
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        return await self._put(images)

    async def webhook(self, request: Request) -> JSONResponse:
        """Handle a registry's notification. An event without use is answered 200, or most registries would send it again."""
        body = await self._authenticated_body(request)
        sender = request.path_params["sender"]
        if sender not in SENDERS:
            raise HTTPException(404, f"unknown sender; the senders are {', '.join(SENDERS)}")
        try:
            pushes = _require_text(SENDERS[sender](decode_json(body, request.headers), request.headers))
        except UNEXPECTED_PAYLOAD:
            raise HTTPException(400, f"the body is not what {sender} sends") from None
        registry = request.query_params.get("registry")
        images, ignored = _collect(self._images, await self._routes(), pushes, registry)
        if not images:
            return response(200, {"queued": [], "already": [], "ignored": ignored or [NO_PUSH]})
        return await self._put(images, ignored)

    async def _authenticated_body(self, request: Request) -> bytes:
        headers = request.headers
        if self._authenticator.authenticate(headers, request.path_params.get("token")):
            return await read_body(request)
        # A signature covers the body, but neither the path nor the query.
        is_github = request.path_params["sender"] == "github" and "registry" not in request.query_params
        if is_github and "x-hub-signature-256" in headers:
            async with self._unauthenticated_bodies.slot(declared_length(request)):
                body = await read_body(request)
            if self._authenticator.authenticate_signature(body, headers):
                return body
        raise unauthorised()

    async def _routes(self) -> Routes:
        return await asyncio.to_thread(self._reloader.current)  # it may read a large file

    def _images(self, routes: Routes, push: Push) -> tuple[Image, ...]:
        """Return the images of a push. Raises IgnoredPushError if there are none, and ValueError if the push is invalid."""
        host, name, tag = push
        pushed = _parse_push(name if host is None else f"{host}/{name}", tag)
        if not self._settings.hook_snapshots and (tag.startswith(SNAPSHOT) or tag.endswith(SNAPSHOT)):
            raise IgnoredPushError(406, f"{tag!r} is a {SNAPSHOT} tag, which is not synced; HOOK_SNAPSHOTS=true accepts it")
        if images := routes.images(pushed):
            return images
        if rule := routes.deferring_rule(pushed):
            reason = f"{pushed} is left to the next full pass, because {rule.text} renames the tags that it matches"
            raise IgnoredPushError(200, reason)
        if dropped := routes.drop_reason(pushed):
            raise IgnoredPushError(200, f"{pushed} is dropped by {dropped}")
        raise IgnoredPushError(404, f"no rule and no row of registry.reg has the source {pushed}")

    async def _put(self, images: Iterable[Image], ignored: Iterable[str] = ()) -> JSONResponse:
        result = await asyncio.to_thread(self._queue.put, images, self._settings.hook_queue_limit)
        content: dict[str, Any] = {"queued": image_rows(result.queued), "already": image_rows(result.already)}
        return response(202 if result.queued else 200, content | ({"ignored": list(ignored)} if ignored else {}))


def _is_from_other_site(request: Request) -> bool:
    """Return whether a page of another site makes a browser call, which sends the account of who has seen the status page.

    Over plain HTTP, browsers only say so with `Origin`, and not for links. Those may lead to the status page; the only
    other harm is that an image that a rule names is queued. The forms of the status page have a token, so their origin does
    not matter, which a proxy may have changed.
    """
    if request.url.path == "/" and request.method == "GET":
        return False
    is_other = request.headers.get("sec-fetch-site") in OTHER_SITES
    return is_other or ("origin" in request.headers and request.url.path != "/sync")


async def _healthz(_: Request) -> JSONResponse:
    return response(200, {"status": "ok"})


def _collect(
    find_images: Callable[[Routes, Push], Iterable[Image]], routes: Routes, pushes: Iterable[Push], registry: str | None
) -> tuple[list[Image], list[str]]:
    """Return the images of all `pushes`, and why the other pushes are ignored. `registry` replaces the host of each push."""
    images: list[Image] = []
    ignored = []
    for host, repository, tag in pushes:
        try:
            images += find_images(routes, (registry or host, repository, tag))
        except (IgnoredPushError, *UNEXPECTED_PAYLOAD) as error:
            ignored.append(str(error))
    return images, ignored


def _require_text(pushes: Iterable[Push]) -> list[Push]:
    """Return those of `pushes` that consist of text. Raises TypeError if none of several does."""
    found = list(pushes)
    texts = [push for push in found if all(isinstance(part, str) for part in (push[0] or "", *push[1:]))]
    if found and not texts:
        raise TypeError("is not text")
    return texts


def _parse_push(name: str, tag: str) -> Reference:
    """Return the repository `name` with `tag`. Raises ValueError if it is invalid.

    Raises IgnoredPushError if the name has only one part, because image-syncer answers 406 then.
    """
    if "/" not in name.strip("/"):
        raise IgnoredPushError(406, f"{reference.shown(name)!r} has fewer than two parts; write registry/namespace/image")
    parsed = reference.parse(name)
    if parsed.tag or parsed.digest:
        raise ValueError(f"{reference.shown(name)!r} has a tag or digest; give the repository alone")
    return Reference(parsed.host, parsed.path, reference.parse_tag(tag, tag))
