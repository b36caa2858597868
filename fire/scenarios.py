"""What the campaign breaks on the network, during which phase of a pass, and the reasons that may then be reported."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from campaign import Campaign
from gateway import SHARE, Break, Fault, Request, Response
from world import DEAD_NAME_SERVER, NOWHERE, REGISTRIES, TOXIC, World

IMAGES = 50
OTHERS = 15  # images at a name of their own, where the fault is that of a host: 30 %
TEMPORARY = 12  # broken requests, after which the fault is over in the same pass
QUICK, SLOW, STALLED = 60, 180, 600  # seconds
CODES = {401: "UNAUTHORIZED", 403: "DENIED", 404: "MANIFEST_UNKNOWN", 429: "TOOMANYREQUESTS"}
PATIENT = {"PROBE_TIMEOUT": "30", "COPY_TIMEOUT": "60", "STALL_TIMEOUT": "30"}  # crane asks six times before it gives up
BY_CONNECTION = r"unreachable|timed out|failed"


def phase_of(request: Request) -> str:
    """Return what the request is for."""
    path = request.target.partition("?")[0]
    if path == "/v2/":
        return "ping"
    if path.endswith("/tags/list"):
        return "listing"
    if path.startswith("/token"):
        return "token"
    if request.method == "HEAD" and "/manifests/" in path:
        return "look-up"
    return "copy"


@dataclass(frozen=True)
class Scenario:
    """A fault during a phase, on the given `share` of the connections.

    `reasons` matches the error of each image that it may make fail; empty: none may fail. `arrange` starts it, where
    it is not `fault` at the gateways of `sides`. `seconds` is the bound of the pass.
    """

    name: str
    phase: str
    reasons: str
    fault: Fault | None = None
    sides: Sequence[str] = REGISTRIES
    seconds: int = QUICK
    heals_after: int | None = None
    arrange: Callable[[World], None] | None = None
    others: int = 0
    images: int = IMAGES
    must_fail: bool = False
    share: float = SHARE
    settings: Mapping[str, str] = field(default_factory=dict)


def during(phase: str, broken: Break, where: Callable[[Request], bool] = lambda _: True) -> Fault:
    """Break the requests of `phase`; of a copy only what `where` chooses."""
    return lambda request: broken if phase_of(request) == phase and where(request) else None


def status(code: int, **headers: str) -> Break:
    """Answer with an error of the registry."""
    body = json.dumps({"errors": [{"code": CODES.get(code, "UNKNOWN"), "message": "broken on purpose"}]}).encode()
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Break(Response(code, [(b"Content-Type", b"application/json"), *lines], body))


def is_token(request: Request) -> bool:
    """Return whether the request has a token."""
    return (request.header("authorization") or "").startswith("Bearer")


def corrupted(response: Response) -> Response:
    """Flip a bit in the middle of the body."""
    middle = len(response.body) // 2
    return replace(response, body=response.body[:middle] + bytes([response.body[middle] ^ 1]) + response.body[middle + 1 :])


def everywhere(name: str, endings: Break, reasons: str, seconds: int = QUICK) -> list[Scenario]:
    """Return the fault in each phase that has responses to break."""
    phases = {"token": ("tokens",), "ping": REGISTRIES, "look-up": REGISTRIES, "listing": ("source",), "copy": REGISTRIES}
    return [Scenario(name, phase, reasons, during(phase, endings), sides, seconds) for phase, sides in phases.items()]


def elsewhere(sides: Sequence[str], address: str | None) -> Callable[[World], None]:
    """Let the second names of `sides` lead to `address`, or to nothing."""
    return lambda one: one.lead(sides, address, "other-")


def with_dead_name_server(one: World) -> None:
    """Let the second name of the source be unknown, and no name server respond."""
    one.lead(["source"], None, "other-", DEAD_NAME_SERVER)


def poisoned(*toxics: Mapping[str, Any]) -> Callable[[World], None]:
    """Send everything through toxiproxy, and apply `toxics` to 30 % of the connections."""

    def arrange(one: World) -> None:
        one.lead(one.gateways, TOXIC)
        one.poison(one.gateways, [{"toxicity": SHARE, "stream": "downstream", **toxic} for toxic in toxics])

    return arrange


def certificate(name: str, *, tokens: bool = False) -> Callable[[World], None]:
    """Let the gateways show a bad certificate."""

    def arrange(one: World) -> None:
        for side in ["tokens"] if tokens else REGISTRIES:
            one.gateways[side].certificate = name

    return arrange


def http2(one: World) -> None:
    """Offer HTTP/2, and wait until 100 streams are open before the first response."""
    for side in REGISTRIES:
        one.gateways[side].http2 = True
        one.gateways[side].streams = 100


def scenarios(campaign: Campaign) -> list[Scenario]:
    """Return all scenarios, or those of the short form."""
    byte = campaign.random("bytes").uniform(0.2, 0.9)
    connect = "unreachable"
    rows = [
        Scenario(
            "connection refused", "all, source", connect, arrange=elsewhere(["source"], NOWHERE), others=OTHERS, must_fail=True
        ),
        Scenario(
            "connection refused",
            "all, target",
            connect,
            arrange=elsewhere(["target"], NOWHERE),
            sides=["target"],
            others=OTHERS,
            must_fail=True,
        ),
        Scenario("connection refused", "token", connect, arrange=lambda one: one.lead(["tokens"], NOWHERE), must_fail=True),
        Scenario(
            "name does not exist", "all, source", connect, arrange=elsewhere(["source"], None), others=OTHERS, must_fail=True
        ),
        Scenario(
            "name server does not respond",
            "all, source",
            r"timed out|unreachable",
            arrange=with_dead_name_server,
            others=OTHERS,
            must_fail=True,
        ),
        Scenario(
            "name does not exist",
            "all, target",
            connect,
            arrange=elsewhere(["target"], None),
            sides=["target"],
            others=OTHERS,
            must_fail=True,
        ),
        *everywhere("reset at a random byte", Break(ending="reset", after=byte), BY_CONNECTION, SLOW),
        *everywhere("stalled forever", Break(ending="stall", after=byte), r"timed out|unreachable", STALLED),
        *everywhere("truncated body", Break(ending="close", after=byte), BY_CONNECTION, SLOW),
        Scenario(
            "reset by toxiproxy", "all", BY_CONNECTION, arrange=poisoned({"type": "reset_peer", "attributes": {"timeout": 5}})
        ),
        Scenario(
            "1 kB/s",
            "all",
            r"timed out|unreachable",
            arrange=poisoned({"type": "bandwidth", "attributes": {"rate": 1}}),
            seconds=SLOW,
        ),
        Scenario(
            "2 s latency",
            "all",
            "",
            arrange=poisoned({"type": "latency", "attributes": {"latency": 2000}}),
            seconds=SLOW,
            settings={"PROBE_TIMEOUT": "30", "STALL_TIMEOUT": "10", "COPY_TIMEOUT": "60"},
        ),
        Scenario(
            "closed after 3,000 bytes",
            "all",
            BY_CONNECTION,
            arrange=poisoned({"type": "limit_data", "attributes": {"bytes": 3000}}),
        ),
        *(
            Scenario(f"certificate: {bad}", "all", "not trusted", arrange=certificate(bad))
            for bad in ("wrong name", "expired", "unknown authority")
        ),
        Scenario(
            "certificate: unknown authority",
            "token",
            "not trusted|failed",
            arrange=certificate("unknown authority", tokens=True),
        ),
        Scenario("token expired early (401)", "look-up", "unauthorised", during("look-up", status(401), is_token)),
        Scenario("token expired early (401)", "copy", "unauthorised", during("copy", status(401), is_token)),
        Scenario("token refused (401)", "token", "unauthorised", during("token", status(401)), ["tokens"]),
        Scenario("403", "look-up", "denied", during("look-up", status(403))),
        Scenario("403", "copy", "denied", during("copy", status(403))),
        Scenario("404", "look-up", "not found", during("look-up", status(404))),
        Scenario("404", "copy", "not found", during("copy", status(404))),
        Scenario("404", "listing", "not found", during("listing", status(404)), ["source"]),
        Scenario(
            "429, Retry-After: 1, temporary",
            "look-up",
            "",
            during("look-up", status(429, Retry_After="1")),
            heals_after=TEMPORARY,
        ),
        Scenario("429, temporary", "look-up", "", during("look-up", status(429)), seconds=SLOW, heals_after=TEMPORARY),
        Scenario("429, temporary", "copy", "", during("copy", status(429)), seconds=SLOW, heals_after=TEMPORARY),
        Scenario(
            "429, Retry-After: 1",
            "look-up",
            "too many requests",
            during("look-up", status(429, Retry_After="1")),
            seconds=SLOW,
            settings=PATIENT,
        ),
        Scenario("429", "copy", "too many requests", during("copy", status(429)), seconds=SLOW, share=1.0, settings=PATIENT),
        Scenario("429", "listing", "too many requests", during("listing", status(429)), ["source"], SLOW, settings=PATIENT),
        *(
            Scenario(f"{code}, temporary", phase, "", during(phase, status(code)), heals_after=TEMPORARY)
            for code, phase in ((500, "look-up"), (502, "copy"), (503, "ping"), (504, "look-up"))
        ),
        *(
            Scenario(str(code), phase, "failed", during(phase, status(code)), seconds=SLOW, settings=PATIENT)
            for code, phase in ((500, "copy"), (502, "look-up"), (503, "copy"), (504, "ping"))
        ),
        Scenario("token service answers 503", "token", "failed", during("token", status(503)), ["tokens"], SLOW),
        Scenario(
            "content that does not match its digest",
            "copy",
            "failed",
            during("copy", Break(change=corrupted), lambda request: request.method == "GET"),
            ["source"],
        ),
        *(
            Scenario(
                f"{name} with 100 open streams",
                "look-up",
                BY_CONNECTION,
                during("look-up", Break(ending=ending)),
                arrange=http2,
                images=150,
                settings={"PROBES": "128"},
                seconds=SLOW,
            )
            for name, ending in (("GOAWAY", "goaway"), ("RST_STREAM", "rst"))
        ),
    ]
    if campaign.short:
        rows = campaign.random("short").sample([row for row in rows if row.seconds == QUICK], 6)
    return rows
