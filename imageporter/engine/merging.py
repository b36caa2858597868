"""One report of the reports of all shards: `sync.py --merge-reports`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from imageporter.model.report import Report
from imageporter.model.shard import Shard
from imageporter.store.report import REPORT, read_whole_report
from imageporter.store.shard_directories import current_shards

# The worst one is the exit code of all: the shards with failures are done, the others have not even begun, or not ended.
WORSE = (0, 1, 75, 2, 130, 143)
SUMMED = ("copied", "skipped", "failed", "would_copy", "lookups", "backoffs")


def read_reports(folders: Sequence[Path]) -> tuple[list[Report], list[str]]:
    """Return the reports of the shards in `folders`, and what is missing, as problems.

    A folder is a DATA_DIR with the directories of shards in it, or the directory of one shard.
    """
    problems: list[str] = []
    paths: dict[Path, Shard | None] = {}
    for folder in folders:
        found = current_shards(folder)
        paths.update({path / REPORT: shard for shard, path in found.items()})
        if not found:
            paths[folder / REPORT] = None
        if found:
            count = next(iter(found)).count
            missing = [str(Shard(number, count)) for number in range(1, count + 1) if Shard(number, count) not in found]
            problems += [f"{folder}: there is no report of shard {name}" for name in missing]
    reports = []
    for path, shard in paths.items():
        report = read_whole_report(path)
        if report is None:
            what = f"shard {shard} has no report" if shard else "there is no report that can be read"
            problems.append(f"{path}: {what}")
        else:
            reports.append(report)
    return reports, problems


def merge(reports: Sequence[Report], problems: Sequence[str]) -> dict[str, Any]:
    """Return the keys of one report for `reports`, of which there is at least one. Each of `problems` is a failure."""
    started = min((report["started"] for report in reports), key=datetime.fromisoformat)
    finished = max((report["finished"] for report in reports), key=datetime.fromisoformat)
    exit_code = max((report["exit_code"] for report in reports), key=lambda code: WORSE.index(code) if code in WORSE else 1)
    pulls: dict[str, int] = {}
    for report in reports:
        for host, left in report.get("pulls_left", {}).items():
            pulls[host] = min(left, pulls.get(host, left))
    numbers: Mapping[str, int] = {key: sum(int(report.get(key, 0)) for report in reports) for key in SUMMED}  # type: ignore[call-overload]
    interrupted = sum(report.get("interrupted", 0) for report in reports)
    own = [line for report in reports for line in report.get("problems", ())]
    return {
        "started": started,
        "finished": finished,
        "dry_run": any(report["dry_run"] for report in reports),
        "exit_code": exit_code or int(bool(problems)),
        **numbers,
        **({"interrupted": interrupted} if interrupted else {}),
        "seconds": round((datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds(), 3),
        "pulls_left": pulls,
        **({"problems": list(dict.fromkeys([*problems, *own]))} if problems or own else {}),
        "images": [row for report in reports for row in report.get("images", ())],
    }
