"""Network faults: each on 30 % of the connections during one pass over 50 images; the next pass must repair everything."""

import json
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from campaign import Campaign, Table
from scenarios import IMAGES, SLOW, Scenario, http2, scenarios
from world import ACCOUNTS_FILE, DIRECT, EQUAL, OUTDATED, TAGS, World, world

TIMEOUTS = {"PROBE_TIMEOUT": "4", "STALL_TIMEOUT": "4", "COPY_TIMEOUT": "10"}
SETTINGS = {"RETRIES": "2", "RETRY_DELAY_TIME": "0.2", "JOBS": "8", **TIMEOUTS}
KINDS = "not found|unauthorised|denied|too many requests|timed out|not trusted|unreachable|failed"
REPORT = "data/report.json"
TEXT = f"""\
A pass syncs {IMAGES} images between two registries with TLS and a token service. At the target, {EQUAL} of them are equal,
{OUTDATED} are outdated, and {IMAGES - EQUAL - OUTDATED} are missing. {TAGS} come from a list of tags. During this pass the
fault hits 30 % of the connections, or 30 % of the images if it is a fault of a host. Faults of lists of tags, and the 429
of copies that is not temporary, hit every connection.

`failed` counts the images that the pass reported as failed. Each of them had a reason that fits the fault. The exit code
was 1 if there were any, else 0. The pass ended within `bound` seconds. Every image that it reported as copied or skipped
was equal to its source, and no tag ever got another digest than that of its source. The second pass, without the fault,
ended with 0 and all targets equal. No password of an account was in the log at DEBUG, in DATA_DIR, in TMPDIR, on a command
line or in crane's environment.

Settings: {", ".join(f"`{name}={value}`" for name, value in SETTINGS.items())}. The time limits are longer where crane
retries by itself, and for the latency. GOAWAY and RST_STREAM are tried with 150 images and `PROBES=128`."""


def run(campaign: Campaign) -> Table:
    """Return one row for each scenario."""
    header = ("fault", "during", "broken requests", "failed", "reasons", "seconds", "bound", "second pass")
    table = Table("Network faults", TEXT, header)
    rows = scenarios(campaign)
    with world(campaign.folder, campaign.seed, max(row.images for row in rows)) as one:
        seen = Totals()
        for scenario in rows:
            play(one, scenario, table, seen)
    table.text += f"\n\nSearched for passwords: {seen.bytes >> 20} MiB in {seen.samples:,} samples of the process table."
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
        one.gateways[name].share = 1.0 if scenario.phase == "listing" else scenario.share  # a list is a single request
    if scenario.arrange:
        scenario.arrange(one)
    search = one.search()
    with search.watching(os.getpid()):
        began = time.monotonic()
        try:
            first = one.sync(scenario.seconds, **SETTINGS | dict(scenario.settings))
        except subprocess.TimeoutExpired:
            table.check(holds=False, finding=f"{title}: the pass had not ended after {scenario.seconds} s")
            shutil.rmtree(one.user.tmp)  # it was killed, and the next pass does not know its private directory
            one.user.tmp.mkdir()
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


def check_first_pass(one: World, scenario: Scenario, code: int, pairs: Mapping[str, str], table: Table) -> Counter[str]:
    """Check the report of the pass with the fault; return the failures by reason."""
    title = f"{scenario.name} ({scenario.phase})"
    rows = json.loads((one.user.folder / REPORT).read_text())["images"]
    failed = [row for row in rows if row["outcome"] == "failed"]
    table.check(code == (1 if failed else 0), f"{title}: exit code {code} with {len(failed)} failed images")
    table.check(failed or not scenario.must_fail, f"{title}: no image failed")
    reasons = Counter(_reason(row["error"]) for row in failed)
    unfit = {row["error"] for row in failed if not re.search(scenario.reasons or "$^", _reason(row["error"]))}
    for error in sorted(unfit)[:3]:
        table.check(holds=False, finding=f"{title}: {len(unfit)} errors like {error}")
    listed = any("/listed" in row["target"] and ":v" in row["target"] for row in rows)
    expected = len(pairs) if listed else len(pairs) - 9
    table.check(len(rows) == expected, f"{title}: {len(rows)} rows in the report, {expected} expected")
    for row in rows:
        if row["outcome"] in {"copied", "skipped"}:
            name = pairs[row["target"]]
            table.check(one.digest("target", name) == one.digests[name], f"{title}: {name} is {row['outcome']}, but not equal")
    return reasons


def _reason(error: str) -> str:
    """Return subject and kind of an error: `source timed out`."""
    found = re.match(rf"(?:\w+ )?(?:{KINDS})", error)
    return found[0] if found else error
