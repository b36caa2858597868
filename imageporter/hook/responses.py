"""Requests and responses of the hook: reading a body, building JSON responses, logging them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from imageporter.hook.webhooks import SENDERS
from imageporter.model.image import Image
from imageporter.system import logs
from imageporter.system.plain_log import to_plain_line
from imageporter.system.stopwatch import Stopwatch

MAX_BODY = 1 << 20  # bytes
MAX_LINE = 1000
NO_PUSH = "not a push of a tag"
SHOWN = {"/status": "the status", "/": "the status page", "/metrics": "the metrics", "/page.css": "the style sheet"}


async def read_body(request: Request) -> bytes:
    """Return the body. Raises HTTPException (413) if it is larger than MAX_BODY, and ClientDisconnect if it ends early."""
    too_large = HTTPException(413, f"the body is larger than {MAX_BODY} bytes", {"Connection": "close"})
    declared = request.headers.get("content-length", "0")
    if len(declared) > len(str(MAX_BODY)) or int(declared) > MAX_BODY:
        raise too_large
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise too_large
    return bytes(body)


def declared_length(request: Request) -> int | None:
    """Return the length of the body that the request declares; None if it declares none."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) <= len(str(MAX_BODY)) else None


def decode_json(body: bytes, headers: Mapping[str, str]) -> Any:
    """Return the JSON in `body`, or in the form field `payload`, which GitHub may send. Raises ValueError if it is invalid."""
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded") and body.startswith(b"payload="):
        body = parse_qs(body.decode(), strict_parsing=True)["payload"][0].encode()
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def query_parameter(request: Request, name: str) -> str:
    """Return the query parameter `name`. Raises HTTPException (400) if it is missing or repeated."""
    values = request.query_params.getlist(name)
    if len(values) != 1 or not values[0]:
        how = "is given more than once" if len(values) > 1 else "is missing"
        raise HTTPException(400, f"{name} {how}; write ?name=registry/namespace/image&tag=1.0.3")
    return values[0]


def client_address(request: Request) -> str:
    """Return the address that the request comes from."""
    return request.client.host if request.client else "?"


def response(status: int, content: dict[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a JSON response."""
    return JSONResponse(content, status, headers)


def error_response(_: Request, error: Exception) -> JSONResponse:
    """Return the response for an HTTPException. Any other `error` is raised."""
    if not isinstance(error, HTTPException):
        raise error
    return response(error.status_code, {"error": error.detail}, error.headers)


def unauthorised() -> HTTPException:
    """Return the error for a request without valid credentials."""
    return HTTPException(401, "wrong or no credentials", {"WWW-Authenticate": 'Basic realm="ImagePorter", charset="UTF-8"'})


def _level(request: Request, sent: Response, content: Mapping[str, Any]) -> str:
    """Return the level of a request's log line: DEBUG for what machines send all the time, and people need not see.

    Prometheus asks every few seconds, each page for its style sheet, and registries report their pulls.
    """
    if sent.status_code >= 400:
        return "WARNING"
    is_routine = request.url.path in {"/metrics", "/page.css"} or content.get("ignored") == [NO_PUSH]
    return "DEBUG" if is_routine else "INFO"


def image_rows(images: Iterable[Image]) -> list[dict[str, str]]:
    """Return the images as a response shows them."""
    return [{"source": str(image.source), "target": str(image.target)} for image in images]


def note_queued(request: Request, queued: list[dict[str, str]], already: list[dict[str, str]]) -> None:
    """Keep what a request has queued for `log_response`, because its response is no JSON."""
    request.state.content = {"queued": queued, "already": already}


def note_ignored(request: Request, reason: str) -> None:
    """Keep why a request has queued nothing, likewise."""
    request.state.content = {"ignored": [reason]}


def log_response(request: Request, sent: Response, stopwatch: Stopwatch) -> None:
    """Log one line for the request and the response `sent`.

    It shows the client's text only as far as the response does, and no path or query string, because they may hold a token.
    """
    content = json.loads(bytes(sent.body)) if isinstance(sent, JSONResponse) else getattr(request.state, "content", {})
    sender = request.path_params.get("sender")
    sender = sender if sender in SENDERS else None
    address = client_address(request)
    queued = [f"{row['source']} -> {row['target']}" for row in content.get("queued", ())]
    result = content.get("error") or ", ".join(content.get("ignored", ()))
    result = result or ("already queued" if "already" in content else "led to the status page")
    result = f"queued {', '.join(queued)}" if queued else result
    result = SHOWN.get(request.url.path, result) if sent.status_code == 200 else result
    client = f"{address}, {sender}" if sender else address
    logs.log_event(
        "hook.received",
        to_plain_line(f"hook: {sent.status_code} to {client}: {result}")[:MAX_LINE],
        _level(request, sent, content),
        status=sent.status_code,
        caller=address,
        sender=sender,
        source=content["queued"][0]["source"] if len(queued) == 1 else None,
        target=content["queued"][0]["target"] if len(queued) == 1 else None,
        queued=len(queued) if "queued" in content else None,
        already=len(content["already"]) if "already" in content else None,
        error=to_plain_line(content["error"]) if "error" in content else None,
        seconds=round(stopwatch.seconds, 3),
    )
