"""The directories of shards below a DATA_DIR."""

import re
from collections import defaultdict
from pathlib import Path

from imageporter.model.shard import Shard
from imageporter.model.shard import parse as parse_shard
from imageporter.store.report import REPORT

_NAME = re.compile("shard-([0-9]+)-of-([0-9]+)")


def current_shards(data_dir: Path) -> dict[Shard, Path]:
    """Return the directories of the shards in `data_dir`, in the order of their numbers.

    If the number of shards has changed, directories of several numbers are there. Those with the newest report count.
    """
    by_count: dict[int, dict[Shard, Path]] = defaultdict(dict)
    newest: dict[int, float] = defaultdict(float)
    try:
        entries = list(data_dir.iterdir())
    except OSError:
        return {}
    for path in entries:
        found = _NAME.fullmatch(path.name)
        if found and (shard := parse_shard(f"{found[1]}/{found[2]}")):
            by_count[shard.count][shard] = path
            newest[shard.count] = max(newest[shard.count], _written(path / REPORT))
    if not by_count:
        return {}
    count = max(by_count, key=lambda one: (newest[one], one))
    return dict(sorted(by_count[count].items(), key=lambda item: item[0].number))


def _written(path: Path) -> float:
    """Return when `path` was written; 0 if it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0
