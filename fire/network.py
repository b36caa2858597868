"""Network faults: each on 30 % of the connections during one pass over 50 images; the next pass must repair everything."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from campaign import Campaign, Table
from gateway import Break, Fault, Request, Response
from world import ACCOUNTS_FILE, DIRECT, NOWHERE, TOXIC, World, world

IMAGES = 50
OTHERS = 15  # images at a name of their own, where the fault is that of a host: 30 %
REGISTRIES = ("source", "target")
TIMEOUTS = {"PROBE_TIMEOUT": "4", "STALL_TIMEOUT": "4", "COPY_TIMEOUT": "10"}
SETTINGS = {"RETRIES": "2", "RETRY_DELAY_TIME": "0.2", "JOBS": "8", **TIMEOUTS}
TEMPORARY = 12  # broken requests, after which the fault is over in the same pass
QUICK, SLOW = 60, 180  # seconds
BY_CONNECTION = r"unreachable|timed out|failed"
REPORT = "data/report.json"


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
    """A fault during a phase. `reasons` matches the error of each image that it may make fail; empty: none may fail.

    `arrange` starts it, where it is not `fault` at the gateways of `sides`. `seconds` is the bound of the pass.
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
    settings: Mapping[str, str] = field(default_factory=dict)


def during(phase: str, broken: Break, where: Callable[[Request], bool] = lambda _: True) -> Fault:
    """Break the requests of `phase`; of a copy only what `where` chooses."""
    return lambda request: broken if phase_of(request) == phase and where(request) else None


def status(code: int, **headers: str) -> Break:
    """Answer with an error of the registry."""
    body = json.dumps({"errors": [{"code": "FIRE", "message": "broken on purpose"}]}).encode()
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Break(Response(code, [(b"Content-Type", b"application/json"), *lines], body))


def is_token(request: Request) -> bool:
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


def poisoned(*toxics: Mapping[str, Any]) -> Callable[[World], None]:
    """Send everything through toxiproxy, and apply `toxics` to 30 % of the connections."""

    def arrange(one: World) -> None:
        one.lead(one.gateways, TOXIC)
        one.poison(one.gateways, [{"toxicity": 0.3, "stream": "downstream", **toxic} for toxic in toxics])

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
            "name does not exist",
            "all, target",
            connect,
            arrange=elsewhere(["target"], None),
            sides=["target"],
            others=OTHERS,
            must_fail=True,
        ),
        *everywhere("reset at a random byte", Break(ending="reset", after=byte), BY_CONNECTION),
        *everywhere("stalled forever", Break(ending="stall", after=byte), r"timed out|unreachable", SLOW),
        *everywhere("truncated body", Break(ending="close", after=byte), BY_CONNECTION),
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
            r"timed out|unreachable",
            arrange=poisoned({"type": "latency", "attributes": {"latency": 2000}}),
            seconds=SLOW,
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
        Scenario("429, temporary", "look-up", "", during("look-up", status(429)), heals_after=TEMPORARY),
        Scenario(
            "429, Retry-After: 1",
            "look-up",
            "too many requests",
            during("look-up", status(429, Retry_After="1")),
            seconds=SLOW,
        ),
        Scenario("429", "copy", "too many requests", during("copy", status(429)), seconds=SLOW),
        Scenario("429", "listing", "too many requests", during("listing", status(429)), ["source"], SLOW),
        *(
            Scenario(f"{code}, temporary", phase, "", during(phase, status(code)), heals_after=TEMPORARY)
            for code, phase in ((500, "look-up"), (502, "copy"), (503, "ping"), (504, "look-up"))
        ),
        *(
            Scenario(str(code), phase, "failed", during(phase, status(code)), seconds=SLOW)
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
        Scenario(
            "GOAWAY with 100 open streams",
            "look-up",
            BY_CONNECTION,
            during("look-up", Break(ending="goaway")),
            arrange=http2,
            images=150,
            settings={"PROBES": "128"},
        ),
        Scenario(
            "RST_STREAM with 100 open streams",
            "look-up",
            BY_CONNECTION,
            during("look-up", Break(ending="rst")),
            arrange=http2,
            images=150,
            settings={"PROBES": "128"},
        ),
    ]
    if campaign.short:
        rows = campaign.random("short").sample(rows, 10)
    return rows


def run(campaign: Campaign) -> Table:
    """Return one row for each scenario."""
    table = Table(
        "Network faults",
        f"{IMAGES} images between two registries with TLS and a token service: {IMAGES - 30} are missing at the target or "
        "outdated, 10 more come from a list of tags. During the first pass the fault hits 30 % of the connections (30 % of the "
        "images, if it is a fault of a host). `failed` counts the images that this pass reported as failed, each with a "
        "reason that fits the fault; the exit code was 1 if there were any, else 0. What it called copied or skipped was "
        "equal, and no accepted request ever gave a tag another digest than the source's. The second pass, without the "
        "fault, ended with 0 and all targets equal. No password of an account was in the log at DEBUG, in DATA_DIR, in "
        "TMPDIR, on a command line or in crane's environment. "
         f"Settings: {', '.join(f'`{name}={value}`' for name, value in SETTINGS.items())}.",
        ("fault", "during", "broken requests", "failed", "reasons", "seconds", "bound", "second pass"),
    )
    rows = scenarios(campaign)
    with world(campaign.folder, campaign.seed, max(row.images for row in rows)) as one:
        seen = Totals()
        for scenario in rows:
            play(one, scenario, table, seen)
    table.text += f"\n\nSearched for passwords: {seen.bytes >> 20} MiB in {seen.samples} samples of the process table."
    return table


@dataclass
class Totals:
    """What was searched for passwords."""

    bytes: int = 0
    samples: int = 0


def play(one: World, scenario: Scenario, table: Table, seen: Totals) -> None:
    """Run a pass with the fault and one without, and check the promises."""
    title = f"{scenario.name} ({scenario.phase})"
    one.reset_target()
    side = next(iter(scenario.sides)) if scenario.others else "source"
    pairs = one.write_images(scenario.images, scenario.others, side)
    one.lead([], DIRECT)
    for gateway in one.gateways.values():
        gateway.heal()
        gateway.broken, gateway.most_streams = 0, 0
        gateway.tagged.clear()
    for name in scenario.sides:
        one.gateways[name].fault = scenario.fault
        one.gateways[name].heals_after = scenario.heals_after
    if scenario.arrange:
        scenario.arrange(one)
    search = one.search()
    with search.watching(os.getpid()):
        began = time.monotonic()
        try:
            first = one.sync(scenario.seconds, **SETTINGS | dict(scenario.settings))
        except subprocess.TimeoutExpired:
            table.check(False, f"{title}: the pass had not ended after {scenario.seconds} s")
            return
        seconds = time.monotonic() - began
    failed = check_first_pass(one, scenario, first.code, pairs, table)
    search.search("the log", first.output.encode())
    table.check("Traceback" not in first.output and "panic: " not in first.output, f"{title}: a traceback was logged")

    broken, streams = (sum(getattr(each, name) for each in one.gateways.values()) for name in ("broken", "most_streams"))
    for gateway in one.gateways.values():
        gateway.heal()
    one.lead([], DIRECT)
    one.poison([], [])
    second = one.sync(SLOW, **SETTINGS)
    wrong = [name for target, name in pairs.items() if one.digest("target", name) != one.digests[name]]
    table.check(second.code == 0 and not wrong, f"{title}: the second pass ended with {second.code}, {len(wrong)} not equal")
    tagged = {(f"{repository}:{tag}", digest) for repository, tag, digest in one.gateways["target"].tagged}
    for name, digest in tagged:
        table.check(":" not in name.partition(":")[2] and one.digests.get(name) == digest, f"{title}: {name} was {digest}")
    table.check(not list(one.user.tmp.iterdir()), f"{title}: files are left in TMPDIR")
    search.search("the log", second.output.encode())
    search.search_files([one.user.folder, one.user.tmp, one.user.home], except_for=[ACCOUNTS_FILE])
    table.check(not search.found, f"{title}: {', '.join(sorted(set(search.found))[:3])}")
    seen.bytes += search.bytes
    seen.samples += search.samples
    if scenario.fault and not scenario.heals_after:
        table.check(broken, f"{title}: nothing was broken")
    if scenario.arrange is http2:
        table.check(streams >= 100, f"{title}: only {streams} streams were open")
    shown = ", ".join(f"{count} {reason}" for reason, count in sorted(failed.items())) or "none"
    ended = "equal" if second.code == 0 and not wrong else f"exit {second.code}"
    table.add(
        scenario.name, scenario.phase, broken or "", sum(failed.values()), shown, f"{seconds:.1f}", scenario.seconds, ended
    )


def check_first_pass(one: World, scenario: Scenario, code: int, pairs: Mapping[str, str], table: Table) -> dict[str, int]:
    """Check the report of the pass with the fault; return the failures by reason."""
    title = f"{scenario.name} ({scenario.phase})"
    rows = json.loads((one.user.folder / REPORT).read_text())["images"]
    failed = [row for row in rows if row["outcome"] == "failed"]
    table.check(code == (1 if failed else 0), f"{title}: exit code {code} with {len(failed)} failed images")
    table.check(failed or not scenario.must_fail, f"{title}: no image failed")
    reasons: dict[str, int] = {}
    for row in failed:
        reason = re.match(rf"(\w+ )?(?:.*?)({scenario.reasons or '$^'})", row["error"])
        table.check(reason, f"{title}: {row['target']}: {row['error']}")
        text = re.match(
            r"(?:\w+ )?(not found|unauthorised|denied|too many requests|timed out|not trusted|unreachable|failed)",
            row["error"],
        )
        shown = text[0] if text else "other"
        reasons[shown] = reasons.get(shown, 0) + 1
    listed = any("/listed" in row["target"] and ":v" in row["target"] for row in rows)
    expected = len(pairs) if listed else len(pairs) - 9
    table.check(len(rows) == expected, f"{title}: {len(rows)} rows in the report, {expected} expected")
    for row in rows:
        if row["outcome"] in {"copied", "skipped"}:
            name = pairs[row["target"]]
            table.check(one.digest("target", name) == one.digests[name], f"{title}: {name} is {row['outcome']}, but not equal")
    return reasons


