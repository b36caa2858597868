"""What people and Prometheus ask the hook for: the status page with its buttons, and the metrics."""

import asyncio
import hashlib
import hmac
import secrets
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from imageporter import __version__
from imageporter.config.settings import Settings
from imageporter.hook.authentication import Authenticator
from imageporter.hook.reload import RouteReloader
from imageporter.hook.responses import image_rows, note_ignored, note_queued, read_body, response, unauthorised
from imageporter.store.image_states import ImageStates
from imageporter.store.push_queue import PushQueue, PutResult, QueueFullError
from imageporter.store.report import QUEUE_REPORT, REPORT, read_report

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
MOST_PAGES = 100_000
FULL, MISSING = "full", "missing"


class Pages:
    """The endpoints of the status page and the metrics. Nobody sees or does anything without the hook's account."""

    def __init__(self, settings: Settings, reloader: RouteReloader, queue: PushQueue, authenticator: Authenticator) -> None:
        self._settings = settings
        self._reloader = reloader
        self._queue = queue
        self._authenticator = authenticator
        self._states = ImageStates(settings.data_dir)
        # A form without the token is none of ours: browsers send the account to us whoever has written the form.
        self._token = hmac.new(secrets.token_bytes(32), b"sync", hashlib.sha256).hexdigest()

    async def page(self, request: Request) -> Response:
        """Return the status page. `q`, `outcome` and `page` choose what of the images it shows."""
        self._require_account(request)
        return Response(await asyncio.to_thread(self._page, request), headers=HEADERS, media_type="text/html")

    async def style_sheet(self, _: Request) -> Response:
        """Return the style sheet of the page, which is no secret."""
        from imageporter.monitoring.page import style_sheet  # noqa: PLC0415

        return Response(style_sheet(), headers={"Cache-Control": "max-age=3600"}, media_type="text/css")

    async def sync(self, request: Request) -> Response:
        """Queue the image of a button, or all images, and lead back to the page."""
        self._require_account(request)
        if request.method == "GET":  # a reload, or a bookmark
            return _back({})
        form = parse_qs((await read_body(request)).decode(errors="replace"))
        if not hmac.compare_digest(form.get("token", [""])[0].encode(), self._token.encode()):
            raise HTTPException(403, "this form is too old, or not from this page; load the page again")
        target = form.get("target", [""])[0]
        if not target and "all" not in form:
            raise HTTPException(400, "the form names no image")
        try:
            result = await asyncio.to_thread(self._put, target)
        except QueueFullError as error:
            note_ignored(request, str(error))
            return _back({FULL: "1"})
        note_queued(request, image_rows(result.queued), image_rows(result.already))
        count = len(result.queued) + len(result.already)
        if not count:
            note_ignored(request, "no rule has this image, or only a full pass can sync it")
        return _back({"queued": str(count)} if count else {MISSING: "1"})

    async def metrics(self, request: Request) -> Response:
        """Return the metrics for Prometheus."""
        self._require_account(request)
        from imageporter.monitoring import metrics  # noqa: PLC0415 (who is not scraped does not pay for prometheus_client)

        settings = self._settings
        content = await asyncio.to_thread(metrics.render, settings.data_dir, per_image=settings.metrics_per_image)
        return Response(content, media_type="text/plain; version=0.0.4")

    async def status(self, request: Request) -> Response:
        """Return the version, the queue, the last pass and the last queue run, as JSON."""
        self._require_account(request)
        queue = await asyncio.to_thread(self._queue_status)
        reports = {
            name: await asyncio.to_thread(read_report, self._settings.data_dir / file)
            for name, file in (("last_pass", REPORT), ("last_queue_run", QUEUE_REPORT))
        }
        return response(200, {"version": __version__, "queue": queue, **reports})

    def _require_account(self, request: Request) -> None:
        if not self._authenticator.authenticate(request.headers):
            raise unauthorised()

    def _queue_status(self) -> dict[str, Any]:
        queue = self._queue.status()
        for row in (queue, *queue["waiting"]):
            name = "since" if "since" in row else "oldest"
            row[name] = row[name] and datetime.fromtimestamp(row[name]).astimezone().isoformat(timespec="seconds")
        return queue

    def _put(self, target: str) -> PutResult:
        """Queue the images of the page that a rule still has, with the options of the rule."""
        routes = self._reloader.current()
        found = (routes.image_of(source, own_target) for source, own_target in self._states.pairs(target))
        return self._queue.put([image for image in found if image], self._settings.hook_queue_limit)

    def _page(self, request: Request) -> bytes:
        from imageporter.monitoring import page  # noqa: PLC0415 (who never looks does not pay for jinja2)

        query = request.query_params
        search, outcome = query.get("q", "")[:200], query.get("outcome", "")
        number = min(int(query["page"][:9]), MOST_PAGES) if query.get("page", "").isdecimal() else 1
        language = page.preferred_language(request.headers.get("accept-language", ""))
        skip = (max(number, 1) - 1) * page.IMAGES_PER_PAGE
        images = self._states.select(search, outcome, most=page.IMAGES_PER_PAGE, skip=skip)
        view = page.View(
            read_report(self._settings.data_dir / REPORT),
            images,
            self._states.count(search),
            self._queue_status(),
            self._queue.waiting_since(image.target for image in images),
            _notes(query, page.translator(language)),
            self._token,
            search,
            outcome,
            max(number, 1),
            language,
        )
        return page.render(view).encode(errors="backslashreplace")


def _notes(query: Any, translate: Any) -> list[str]:
    """Return what the page says after a button was pressed."""
    notes = []
    if query.get("queued", "").isdecimal():
        text = translate("Queued: {}. The next queue run or the next full pass syncs them.")
        notes.append(text.format(int(query["queued"][:9])))
    if FULL in query:
        notes.append(translate("The queue has no room for more images; wait for the next queue run."))
    if MISSING in query:
        notes.append(translate("No rule has this image now, or only a full pass can sync it."))
    return notes


def _back(query: dict[str, str]) -> Response:
    # A relative address: a proxy before the hook may serve it below a path.
    return Response(status_code=303, headers={"Location": f"./?{urlencode(query)}" if query else "./"})
