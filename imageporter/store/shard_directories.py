"""The directories of shards below a DATA_DIR."""

import re
from pathlib import Path

from imageporter.model.shard import Shard
from imageporter.model.shard import parse as parse_shard
from imageporter.store.report import REPORT, read_report

_NAME = re.compile("shard-([1-9][0-9]*)-of-([1-9][0-9]*)")


def shard_directories(data_dir: Path) -> list[Path]:
    """Return the directories of shards in `data_dir` that have a report: a dry run has none, and says nothing."""
    try:
        return sorted(path for path in data_dir.iterdir() if _shard(path) and (path / REPORT).exists())
    except OSError:
        return []


def merged_shards(data_dir: Path) -> list[Path]:
    """Return the directories of the shards that the report of `data_dir` was merged from; none if no shards made it."""
    directories = shard_directories(data_dir)
    report = read_report(data_dir / REPORT) if directories else None
    merged = report.get("shards", {}) if report else {}
    return [path for path in directories if str(_shard(path)) in merged]


def _shard(path: Path) -> Shard | None:
    found = _NAME.fullmatch(path.name)
    return parse_shard(f"{found[1]}/{found[2]}") if found else None
