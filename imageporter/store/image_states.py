"""What the records say of the images, for those who only read: the status page and the metrics."""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imageporter.model.outcome import Status
from imageporter.model.reference import Reference, parse
from imageporter.store.database import BUSY_SECONDS, DATABASE_ERRORS
from imageporter.store.records import FILE
from imageporter.store.shard_directories import merged_shards

MATCHES = "listed AND (?1 = '' OR instr(lower(target), ?1) OR instr(lower(origin), ?1)) AND (?2 = '' OR outcome = ?2)"
COUNT = f"SELECT outcome, count(*) FROM images WHERE {MATCHES} GROUP BY outcome"  # noqa: S608 (both parts are ours)
SELECT = f"""
SELECT target, origin, digest, verified, copied, failing, outcome, error, seconds FROM images WHERE {MATCHES}
ORDER BY outcome IN ('copied', 'skipped'), target LIMIT ?3 OFFSET ?4
"""  # noqa: S608 (likewise)
SELECT_ORIGINS = "SELECT origin, target FROM images WHERE listed AND (?1 = '' OR target = ?1) ORDER BY target"


@dataclass(frozen=True, slots=True)
class ImageState:
    """One image: how it ended last, and when it was last verified and copied (seconds since 1970)."""

    target: str
    origin: str
    digest: str | None = None
    verified: float | None = None
    copied: float | None = None
    failing: float | None = None
    outcome: str | None = None
    error: str | None = None
    seconds: float | None = None

    @property
    def is_image(self) -> bool:
        """Whether it is one image, and neither a rule that was refused nor a second image for a target."""
        return " " not in self.target and all(set(":@") & set(name.rpartition("/")[2]) for name in (self.target, self.source))

    @property
    def is_up_to_date(self) -> bool:
        """Whether the target was equal to the source in the last run."""
        return self.outcome in {Status.COPIED, Status.SKIPPED}

    @property
    def source(self) -> str:
        """The source, without the options."""
        return self.origin.partition(" ")[0]


class ImageStates:
    """The images of the last full pass, and of the queue runs since. Without readable records there are none."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def count(self, search: str = "") -> dict[str, int]:
        """Return the number of images by outcome, of those whose source or target contains `search`."""
        counts: Counter[str] = Counter()
        for outcome, number in _select(self._folders(), COUNT, search.lower(), ""):
            counts[outcome or ""] += number
        return dict(counts)

    def select(self, search: str = "", outcome: str = "", *, most: int = -1, skip: int = 0) -> list[ImageState]:
        """Return the images whose source or target contains `search`, with this `outcome` if it is given, failures first.

        At most `most` are returned, after the first `skip`.
        """
        folders = self._folders()
        if len(folders) == 1:
            return [ImageState(*row) for row in _select(folders, SELECT, search.lower(), outcome, most, skip)]
        # Each shard gives as many as may be on the page, since nobody knows which of them are.
        rows = _select(folders, SELECT, search.lower(), outcome, skip + most if most >= 0 else -1, 0)
        found = sorted((ImageState(*row) for row in rows), key=lambda one: (one.is_up_to_date, one.target))
        return found[skip : skip + most] if most >= 0 else found[skip:]

    def pairs(self, target: str = "") -> list[tuple[Reference, Reference]]:
        """Return source and target of each image; only that of `target` if it is given."""
        found = [ImageState(name, origin) for origin, name in _select(self._folders(), SELECT_ORIGINS, target)]
        return [(parse(one.source), parse(one.target)) for one in found if one.is_image]

    def _folders(self) -> list[Path]:
        """Return where the records are: in the directories of the shards that were merged, or in DATA_DIR itself."""
        return merged_shards(self._data_dir) or [self._data_dir]


def _select(folders: Iterable[Path], query: str, *values: object) -> list[Any]:
    """Return the rows of `query` in the records of all `folders`."""
    rows: list[Any] = []
    for folder in folders:
        with _opened(folder / FILE) as connection:
            rows += [] if connection is None else connection.execute(query, values).fetchall()
    return rows


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Open the records for reading, or yield None. The file may be replaced at any time, so it is opened each time."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
    except DATABASE_ERRORS:
        yield None
        return
    with closing(connection):
        try:
            connection.execute("SELECT 1 FROM images LIMIT 1")
        except DATABASE_ERRORS:
            yield None
            return
        yield connection
