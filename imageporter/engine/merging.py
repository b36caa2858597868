"""One report of the reports of all shards: `sync.py --merge-reports`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from imageporter.model.report import Report
from imageporter.model.shard import Shard
from imageporter.model.shard import parse as parse_shard
from imageporter.store.report import REPORT, read_whole_report
from imageporter.store.shard_directories import shard_directories

# The worst exit code is that of all: what people must look at hides behind nothing that passes by itself.
WORSE = (0, 130, 143, 75, 1, 2)
SUMMED = ("copied", "skipped", "failed", "would_copy", "lookups", "backoffs")


def read_reports(folders: Sequence[Path]) -> dict[Shard, Report]:
    """Return the reports of the shards in `folders`: each is the directory of a shard, or has such directories in it.

    Of several reports of a shard the newest counts, and of several numbers of shards that of the newest report.
    """
    found: dict[Shard, Report] = {}
    for folder in folders:
        for path in shard_directories(folder) or [folder]:
            report = read_whole_report(path / REPORT)
            shard = parse_shard(report.get("shard", "")) if report else None
            if report and shard and (shard not in found or _end(report) > _end(found[shard])):
                found[shard] = report
    if not found:
        return {}
    count = max(found, key=lambda shard: _end(found[shard])).count
    return {shard: found[shard] for shard in sorted(found, key=lambda one: one.number) if shard.count == count}


def merge(found: Mapping[Shard, Report], previous: Report | None) -> dict[str, Any]:
    """Return the keys of one report for the reports of shards, of which there is at least one.

    A shard without a report, or without a new one since the `previous` merge, is a failure.
    """
    reports = list(found.values())
    count = next(iter(found)).count
    merged = {str(shard): report["finished"] for shard, report in found.items()}
    known: Mapping[str, str] = previous.get("shards", {}) if previous else {}
    missing = [f"shard {shard} has no report" for shard in _all(count) if shard not in found]
    missing += [f"shard {name} has not run since the last merge" for name, end in merged.items() if known.get(name) == end]
    codes = [report["exit_code"] for report in reports] + ([1] if missing else [])
    pulls: dict[str, int] = {}
    for report in reports:
        for host, left in report.get("pulls_left", {}).items():
            pulls[host] = min(left, pulls.get(host, left))
    numbers = {key: sum(_number(report, key) for report in reports) for key in SUMMED}
    interrupted = sum(_number(report, "interrupted") for report in reports)
    problems = list(dict.fromkeys(line for report in reports for line in report.get("problems", ())))
    started = min((report["started"] for report in reports), key=datetime.fromisoformat)
    finished = max((report["finished"] for report in reports), key=datetime.fromisoformat)
    return {
        "started": started,
        "finished": finished,
        "dry_run": any(report["dry_run"] for report in reports),
        "exit_code": max(codes, key=lambda code: WORSE.index(code) if code in WORSE else WORSE.index(1)),
        **numbers,
        **({"interrupted": interrupted} if interrupted else {}),
        "seconds": round((datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds(), 3),
        "pulls_left": pulls,
        "shards": merged,
        **({"missing": missing} if missing else {}),
        **({"problems": problems} if problems else {}),
        "images": [row for report in reports for row in report.get("images", ())],
    }


def _all(count: int) -> list[Shard]:
    return [Shard(number, count) for number in range(1, count + 1)]


def _end(report: Report) -> datetime:
    return datetime.fromisoformat(report["finished"])


def _number(report: Any, key: str) -> int:
    return int(report.get(key, 0))
