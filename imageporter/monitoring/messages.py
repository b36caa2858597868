"""What people are told of a run: a title, and a text with the counts, the first failures and what to do."""

import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from imageporter.model.report import INTERRUPTED, LOCKED, ImageRow, Report, failing_since
from imageporter.registry.errors import ErrorKind

MOST_FAILURES = 10
MOST_PROBLEMS = 10
LONGEST_REASON = 300  # characters

_ADVICE = {
    ErrorKind.NOT_FOUND: "Not found: push the image, or correct or remove its rule.",
    ErrorKind.UNAUTHORIZED: "Unauthorised: check the registry's account in the accounts file.",
    ErrorKind.DENIED: "Denied: check what the registry's account may pull and push.",
    ErrorKind.RATE_LIMITED: "Too many requests: an account may raise the registry's limit.",
    ErrorKind.TIMED_OUT: "Timed out: check the network, or raise COPY_TIMEOUT.",
    ErrorKind.WITHOUT_TLS: 'Without TLS: if that is meant, set "insecure": true for the registry in the accounts file.',
    ErrorKind.NOT_TRUSTED: "Not trusted: set SSL_CERT_FILE to the certificate of the registry's authority.",
    ErrorKind.REJECTED: "Rejected: the source is not signed as `signed` demands; find out why before you copy it.",
    ErrorKind.UNREACHABLE: "Unreachable: check the network and the registry.",
}
_KIND = re.compile(rf"\w+ ({'|'.join(kind.value for kind in _ADVICE)})\b")
_CONTAINER_ID = re.compile("[0-9a-f]{12}")  # docker's name of a host that nobody has named


@dataclass(frozen=True)
class Headlines:
    """The words of headlines, with `{total}`, `{failed}` and `{copied}` for numbers of images."""

    locked: str = "another pass is still running"
    interrupted: str = "interrupted, {failed} of {total} images not finished"
    missing: str = "{missing} of {shards} shards have not run, {failed} of {total} images failed"
    problems: str = "could not start"
    failed: str = "{failed} of {total} images failed"
    equal: str = "all {total} images are up to date"
    one_equal: str = "the image is up to date"
    nothing: str = "there are no images"
    copied: str = ", {copied} copied"
    queue_run: str = "queue run: "


ENGLISH_HEADLINES = Headlines()


@dataclass(frozen=True)
class Message:
    """A message to people. `kind` is apprise's: `success`, `failure` or `info`, which many services show as a colour."""

    title: str
    body: str
    kind: str = "info"


def compose(report: Report, previous: Report | None) -> Message:
    """Return what there is to say of a run; `previous` says since when runs had failed before it."""
    broken_since = failing_since(previous)
    problems = [*report.get("missing", ()), *report.get("problems", ())]
    if report["exit_code"] == 0 and broken_since:
        what = f"works again: {headline(report)}"
        parts = [f"It was broken for {_duration(broken_since, report['finished'])}, since {for_people(broken_since)}."]
    elif report["exit_code"] == 0:
        what, parts = headline(report), []
    else:
        what = headline(report)
        parts = [f"Broken since {for_people(broken_since)}."] if broken_since and report["failing_since"] else []
        parts += ["\n".join(_limited([f"- {line}" for line in problems], MOST_PROBLEMS)), _failures(report)]
        parts += [_what_to_do(report)]
    run = "queue run" if report["run"] == "queue" else "pass"
    times = f"from {for_people(report['started'])} to {for_people(report['finished'])}"
    parts += [f"{socket.gethostname()}: {run} {times}, exit code {report['exit_code']}"]
    kind = "failure" if report["exit_code"] else "success"
    return Message(f"ImagePorter{_host()}: {what}", "\n\n".join(filter(None, parts)), kind)


def headline(report: Report, words: Headlines = ENGLISH_HEADLINES) -> str:
    """Return how a run ended, in one line of some `words`: `2 of 300 images failed, 5 copied`."""
    total = report["copied"] + report["skipped"] + report["failed"]
    if report["exit_code"] == LOCKED:
        text = words.locked
    elif report["exit_code"] in INTERRUPTED:
        text = words.interrupted
    elif report.get("missing"):
        text = words.missing
    elif report.get("problems") and not total:
        text = words.problems
    elif report["exit_code"]:
        text = words.failed
    else:
        text = words.equal if total > 1 else words.one_equal if total else words.nothing
    run = words.queue_run if report["run"] == "queue" else ""
    copied = words.copied if report["copied"] else ""
    names = list(report.get("shards", ()))
    shards = {"missing": len(report.get("missing", ())), "shards": names[0].partition("/")[2] if names else "0"}
    return (run + text + copied).format(total=total, failed=report["failed"], copied=report["copied"], **shards)


def for_people(time: str) -> str:
    """Return a time of a report without what its reader knows: `2026-11-27 03:00:04`."""
    return time[:19].replace("T", " ")


def _host() -> str:
    """Return ` on nas`, unless the name of the host is a container's ID."""
    name = socket.gethostname()
    return "" if _CONTAINER_ID.fullmatch(name) else f" on {name}"


def _failures(report: Report) -> str:
    rows = [row for row in report.get("images", ()) if row["outcome"] == "failed"]
    return "\n".join(_limited([_failure(row) for row in _varied(rows)], MOST_FAILURES))


def _varied(rows: Sequence[ImageRow]) -> list[ImageRow]:
    """Return `rows` in another order: first one for each kind of failure and pair of registries, then the others."""
    seen: set[tuple[str, ...]] = set()
    first: list[ImageRow] = []
    others: list[ImageRow] = []
    for row in rows:
        kind = _KIND.match(row["error"] or "")
        key = (kind[0] if kind else row["error"] or "", *(row[side].partition("/")[0] for side in ("source", "target")))
        (others if key in seen else first).append(row)
        seen.add(key)
    return first + others


def _failure(row: ImageRow) -> str:
    reason = row["error"] or ""
    shown = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}..."
    return f"- {row['source']} -> {row['target']}: {shown}"


def _limited(lines: list[str], most: int) -> list[str]:
    return lines if len(lines) <= most else [*lines[:most], f"and {len(lines) - most} more, which report.json has"]


def _what_to_do(report: Report) -> str:
    """Return advice for each kind of failure, and when the next run is."""
    if report["exit_code"] == LOCKED:
        return "If that one does not end, look at its log. COPY_TIMEOUT limits each of its copies."
    if report["exit_code"] in INTERRUPTED:
        return "The next pass continues with the images that were not finished."
    if report.get("problems") and not report.get("images"):
        return "Correct these settings or files. Nothing was looked up or copied."
    errors = {found[1] for row in report.get("images", ()) if (found := _KIND.match(row["error"] or ""))}
    next_pass = report["next_pass"]
    when = f"The next pass is at {for_people(next_pass)}." if next_pass else "The next pass tries again."
    again = "The next queue run tries again." if report["run"] == "queue" else when
    return "\n".join([*(advice for kind, advice in _ADVICE.items() if kind.value in errors), again])


def _duration(since: str, until: str) -> str:
    """Return the time between two times of reports: `2 days and 3 hours`."""
    try:
        passed = datetime.fromisoformat(until) - datetime.fromisoformat(since)
    except (ValueError, TypeError):  # somebody has edited the report
        return "an unknown time"
    minutes = max(passed, timedelta()).total_seconds() // 60
    if minutes < 1:
        return "less than a minute"
    units = {"day": int(minutes // 1440), "hour": int(minutes % 1440 // 60), "minute": int(minutes % 60)}
    parts = [f"{number} {unit}{'' if number == 1 else 's'}" for unit, number in units.items() if number]
    return " and ".join(parts[:2])
