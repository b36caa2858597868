"""What people are told of a run: a title, and a text with the counts, the first failures and what to do."""

import re
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta

from imageporter.model.report import ImageRow, Report, failing_since
from imageporter.registry.errors import ErrorKind

MOST_FAILURES = 10
MOST_PROBLEMS = 10
LONGEST_REASON = 300  # characters
INTERRUPTED = frozenset({130, 143})
LOCKED = 75

_ADVICE = {
    ErrorKind.NOT_FOUND: "Not found: push the image, or correct or remove its rule.",
    ErrorKind.UNAUTHORIZED: "Unauthorised: check the registry's account in the accounts file.",
    ErrorKind.DENIED: "Denied: check what the registry's account may pull and push.",
    ErrorKind.RATE_LIMITED: "Too many requests: the next pass continues; an account may raise the registry's limit.",
    ErrorKind.TIMED_OUT: "Timed out: the next pass tries again; check the network, or raise COPY_TIMEOUT.",
    ErrorKind.WITHOUT_TLS: 'Without TLS: if that is meant, set "insecure": true for the registry in the accounts file.',
    ErrorKind.NOT_TRUSTED: "Not trusted: set SSL_CERT_FILE to the certificate of the registry's authority.",
    ErrorKind.REJECTED: "Rejected: the source is not signed as `signed` demands; find out why before you copy it.",
    ErrorKind.UNREACHABLE: "Unreachable: the next pass tries again; check the network and the registry.",
}
_KIND = re.compile(rf"\w+ ({'|'.join(kind.value for kind in _ADVICE)})\b")
_OTHERWISE = "The log and report.json have every failure. The next pass tries again."


@dataclass(frozen=True)
class Message:
    """A message to people. `kind` is apprise's: `success`, `failure` or `info`, which many services show as a colour."""

    title: str
    body: str
    kind: str = "info"


def compose(report: Report, previous: Report | None) -> Message:
    """Return what there is to say of a run; `previous` says since when runs had failed before it."""
    broken_since = failing_since(previous)
    if report["exit_code"] == 0 and broken_since:
        title = f"works again: {_counts(report)}"
        parts = [f"It was broken for {_duration(broken_since, report['finished'])}, since {broken_since}."]
    elif report["exit_code"] == 0:
        title, parts = _counts(report), []
    elif problems := report.get("problems"):
        title = "another pass is running" if report["exit_code"] == LOCKED else "the pass could not start"
        parts = ["\n".join(_limited([f"- {line}" for line in problems], MOST_PROBLEMS)), _what_to_do(report)]
    elif report["exit_code"] in INTERRUPTED:
        title, parts = f"interrupted: {_counts(report)}", ["The next pass continues with the images that were not finished."]
    else:
        title, parts = _counts(report), [_failures(report), _what_to_do(report)]
    since = report["failing_since"]
    parts += [f"Broken since {since}."] if since and since != report["started"] else []
    run = "queue run" if report["run"] == "queue" else "pass"
    parts += [
        f"{socket.gethostname()}: {run} from {report['started']} to {report['finished']}, exit code {report['exit_code']}"
    ]
    name = "ImagePorter" if broken_since and not since else "ImagePorter:"
    return Message(f"{name} {title}", "\n\n".join(parts), "failure" if report["exit_code"] else "success")


def _counts(report: Report) -> str:
    """Return `3 failed, 10 copied, 987 skipped`."""
    counts = {"failed": report["failed"], "copied": report["copied"], "skipped": report["skipped"]}
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number or name != "failed")


def _failures(report: Report) -> str:
    rows = [row for row in report.get("images", ()) if row["outcome"] == "failed"]
    return "\n".join(_limited([_failure(row) for row in rows], MOST_FAILURES))


def _failure(row: ImageRow) -> str:
    reason = row["error"] or ""
    shown = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}..."
    return f"- {row['source']} -> {row['target']}: {shown}"


def _limited(lines: list[str], most: int) -> list[str]:
    return lines if len(lines) <= most else [*lines[:most], f"and {len(lines) - most} more"]


def _what_to_do(report: Report) -> str:
    """Return advice for each kind of failure."""
    if report["exit_code"] == LOCKED:
        return "If that one does not end, look at its log. COPY_TIMEOUT limits each of its copies."
    if "problems" in report:
        return "Correct these settings or files. Nothing was looked up or copied."
    errors = {found[1] for row in report.get("images", ()) if (found := _KIND.match(row["error"] or ""))}
    return "\n".join([*(advice for kind, advice in _ADVICE.items() if kind.value in errors), _OTHERWISE])


def _duration(since: str, until: str) -> str:
    """Return the time between two times of reports: `2 days and 3 hours`."""
    try:
        passed = datetime.fromisoformat(until) - datetime.fromisoformat(since)
    except ValueError:  # somebody has edited the report
        return "an unknown time"
    minutes = max(passed, timedelta()).total_seconds() // 60
    if minutes < 1:
        return "less than a minute"
    units = {"day": int(minutes // 1440), "hour": int(minutes % 1440 // 60), "minute": int(minutes % 60)}
    parts = [f"{number} {unit}{'' if number == 1 else 's'}" for unit, number in units.items() if number]
    return " and ".join(parts[:2])
