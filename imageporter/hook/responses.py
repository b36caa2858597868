"""One call of the hook: what came with it, what is answered, and what the log says of it."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from imageporter.system import logs
from imageporter.engine.summary import Clock
from imageporter.hook.webhooks import SENDERS

BODY_LIMIT = 1 << 20
LONGEST_LINE = 1000


async def body_of(request: Request) -> bytes:
    """The body, of BODY_LIMIT bytes at most; HTTPException (413) above, ClientDisconnect where it does not arrive."""
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


def decoded(body: bytes, headers: Mapping[str, str]) -> Any:
    """The JSON of a body, which GitHub may also send as the field `payload` of a form. ValueError where it is none."""
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded") and body.startswith(b"payload="):
        body = parse_qs(body.decode(), strict_parsing=True)["payload"][0].encode()
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def parameter(request: Request, name: str) -> str:
    """The one value of a parameter of the query; HTTPException (400) where it is missing or given twice."""
    given = request.query_params.getlist(name)
    if len(given) != 1 or not given[0]:
        how = "is given more than once" if len(given) > 1 else "is missing"
        raise HTTPException(400, f"{name} {how}; write ?name=registry/namespace/image&tag=1.0.3")
    return given[0]


def unauthorised() -> HTTPException:
    """The answer to a caller that is not known."""
    return HTTPException(401, "wrong or no credentials", {"WWW-Authenticate": 'Basic realm="ImagePorter", charset="UTF-8"'})


def refused(_: Request, error: Exception) -> JSONResponse:
    """The answer that an HTTPException stands for; any other `error` is raised."""
    if not isinstance(error, HTTPException):
        raise error
    return answer(error.status_code, {"error": error.detail}, error.headers)


def answer(status: int, content: dict[str, Any], headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An answer in JSON."""
    return JSONResponse(content, status, headers)


def address_of(request: Request) -> str:
    """Where the call comes from."""
    return request.client.host if request.client else "?"


def log(request: Request, told: JSONResponse, clock: Clock) -> None:
    """One line a call; of the caller's text only what the answer says, and no query string or path with a token."""
    said = json.loads(bytes(told.body))
    sender = request.path_params.get("sender")
    sender = sender if sender in SENDERS else None
    who = f"{address_of(request)}, {sender}" if sender else address_of(request)
    queued = [f"{row['source']} -> {row['target']}" for row in said.get("queued", ())]
    words = said.get("error") or ", ".join(said.get("ignored", ())) or "already queued"
    words = f"queued {', '.join(queued)}" if queued else words
    words = "asked for the status" if request.url.path == "/status" and told.status_code == 200 else words
    logs.event(
        "hook.received",
        logs.plain(f"hook: {told.status_code} to {who}: {words}")[:LONGEST_LINE],
        "INFO" if told.status_code < 400 else "WARNING",
        status=told.status_code,
        caller=address_of(request),
        sender=sender,
        source=said["queued"][0]["source"] if len(queued) == 1 else None,
        target=said["queued"][0]["target"] if len(queued) == 1 else None,
        queued=len(queued) if "queued" in said else None,
        already=len(said["already"]) if "already" in said else None,
        error=logs.plain(said["error"]) if "error" in said else None,
        seconds=round(clock.seconds, 3),
    )
