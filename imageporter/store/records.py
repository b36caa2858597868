"""Records of images (SQLite): when each target was last verified and copied, since when it fails, and how it ended last.

The time of the last verification is for TRUST_RECORDS, and what platforms became saves look-ups. Without records a pass
checks every target and ends the same. The other columns are what the status page shows.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from loguru import logger

from imageporter.model.image import Image
from imageporter.model.outcome import Outcome, Status
from imageporter.store.database import DATABASE_ERRORS, Database
from imageporter.system.stopwatch import Stopwatch

T = TypeVar("T")

FILE = "records.db"
# What is not committed yet is lost if the process is killed, and then looked up again.
MAX_PENDING = 100
MAX_PENDING_SECONDS = 0.5
KEPT_SECONDS = 30 * 24 * 3600.0  # of an image that no rule has any more
# All times are seconds since 1970.
TABLE = """
CREATE TABLE IF NOT EXISTS images (
  target   TEXT PRIMARY KEY,
  origin   TEXT NOT NULL,  -- Image.origin: the source and the options
  digest   TEXT,           -- of the source when the target was last verified; NULL if the target has begun to change since
  verified REAL,
  copied   REAL,
  failing  REAL,           -- since when
  outcome  TEXT,           -- of the last run, with its error and its seconds
  error    TEXT,
  seconds  REAL,
  seen     REAL NOT NULL,  -- when it was last part of a run
  listed   INTEGER NOT NULL DEFAULT 0  -- whether it was part of the last full pass, or of a queue run since
) WITHOUT ROWID
"""
# What a target with platforms has become: crane makes an index of its own, with another digest than the source's.
MADE_TABLE = """
CREATE TABLE IF NOT EXISTS made (
  target TEXT PRIMARY KEY,
  origin TEXT NOT NULL,
  source TEXT NOT NULL,  -- digest
  digest TEXT NOT NULL
) WITHOUT ROWID
"""
# `synced` was the table before there was a status page.
MIGRATION = (
    "INSERT OR IGNORE INTO images (target, origin, digest, verified, seen) SELECT target, source, digest, at, at FROM synced",
    "DROP TABLE synced",
)
INSERT_MADE = "INSERT OR REPLACE INTO made VALUES (?, ?, ?, ?)"
SELECT_MADE = "SELECT digest FROM made WHERE target = ? AND origin = ? AND source = ? AND typeof(digest) = 'text'"
UPSERT_VERIFIED = """
INSERT INTO images (target, origin, digest, verified, copied, seen) VALUES (?1, ?2, ?3, ?4, ?5, ?4)
ON CONFLICT DO UPDATE SET origin = ?2, digest = ?3, verified = ?4, seen = ?4, failing = NULL,
  copied = coalesce(?5, CASE WHEN origin = ?2 THEN copied END)
"""
INVALIDATE = "UPDATE images SET digest = NULL WHERE target = ?"
SELECT = "SELECT verified FROM images WHERE target = ? AND origin = ? AND digest = ? AND typeof(verified) = 'real'"
UPSERT_OUTCOME = """
INSERT INTO images (target, origin, outcome, error, seconds, failing, seen, listed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)
ON CONFLICT DO UPDATE SET outcome = ?3, error = ?4, seconds = ?5, seen = ?7, listed = 1,
  digest = CASE WHEN origin = ?2 THEN digest END,
  verified = CASE WHEN origin = ?2 THEN verified END,
  copied = CASE WHEN origin = ?2 THEN copied END,
  failing = CASE WHEN ?6 IS NOT NULL THEN coalesce(CASE WHEN origin = ?2 THEN failing END, ?6) END,
  origin = ?2
"""
UNLIST = "UPDATE images SET listed = 0, failing = NULL WHERE listed AND seen < ?"
DROP_IMAGES = "DELETE FROM images WHERE NOT listed AND seen < ?"
DROP_MADE = "DELETE FROM made WHERE target NOT IN (SELECT target FROM images)"
# In WAL mode a power failure may lose the last records, but does not damage the file.
DATABASE = Database(FILE, (TABLE, MADE_TABLE), synchronous="NORMAL", migrations={"synced": MIGRATION})

Row = tuple[str, str, str, float, float | None]


class Records:
    """The records of the images. For one thread; processes may share the file.

    No method raises. After the first failure of the file, which is logged, nothing is recorded or fresh any more.
    """

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection = connection
        self._pending: dict[str, Row] = {}  # by target
        self._pending_since = 0.0

    def record_verified(self, image: Image, digest: str, *, copied: bool = False) -> None:
        """Record that the target of `image` equals its source, `digest`, now, perhaps because it was `copied`.

        It is committed within MAX_PENDING rows.
        """
        now = time.time()
        if not self._pending:
            self._pending_since = now
        target = str(image.target)
        self._pending[target] = (target, image.origin, digest, now, now if copied else None)
        if len(self._pending) >= MAX_PENDING or abs(now - self._pending_since) > MAX_PENDING_SECONDS:
            self.flush()

    def invalidate(self, image: Image) -> None:
        """Forget that the target of `image`, which is about to change, was verified. This is committed at once."""
        target = str(image.target)
        self._pending.pop(target, None)
        self._execute(lambda connection: connection.execute(INVALIDATE, (target,)))

    def is_fresh(self, image: Image, digest: str, seconds: float) -> bool:
        """Return whether the target of `image` was verified to be its source, `digest`, within the last `seconds`."""
        if not seconds:
            return False
        key = (str(image.target), image.origin, digest)
        if pending := self._pending.get(key[0]):
            return pending[:3] == key
        row = self._execute(lambda connection: connection.execute(SELECT, key).fetchone())
        # A record from the future was written before the clock was set back, so its age is unknown.
        return row is not None and 0 <= time.time() - row[0] <= seconds

    def record_made(self, image: Image, source_digest: str, digest: str) -> None:
        """Record that the target of `image` became `digest` when it was made from `source_digest`."""
        row = (str(image.target), image.origin, source_digest, digest)
        self._execute(lambda connection: connection.execute(INSERT_MADE, row))

    def made_digest(self, image: Image, source_digest: str) -> str | None:
        """Return what the target of `image` became when it was last made from `source_digest`; None if that is unknown."""
        key = (str(image.target), image.origin, source_digest)
        row = self._execute(lambda connection: connection.execute(SELECT_MADE, key).fetchone())
        return row[0] if row else None

    def record_outcomes(self, outcomes: Iterable[Outcome], stopwatch: Stopwatch, *, is_complete: bool) -> None:
        """Record how each image of a run, whose beginning `stopwatch` knows, has ended.

        If the run `is_complete`, a full pass to its end, the other images belong to no rule any more. They are unlisted, and
        dropped 30 days after they were seen last. That is unknown if a rule could not be expanded.
        """
        self.flush()
        began = stopwatch.started.timestamp()
        now = max(time.time(), began)
        by_target: dict[str, Outcome] = {}
        for one in outcomes:
            target = str(one.image.target)
            # The target belongs to the first image. One that was refused for that reason has a row of its own.
            by_target[f"{target} from {one.image.origin}" if target in by_target else target] = one
        rows = (
            (
                *(target, one.image.origin, str(one.status), one.error, one.seconds),
                *(now if one.status is Status.FAILED else None, now),
            )
            for target, one in by_target.items()
            if one.status is not Status.INTERRUPTED
        )
        is_complete = is_complete and all(one.image.names_tags for one in by_target.values())

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(UPSERT_OUTCOME, rows)
            if is_complete:
                connection.execute(UNLIST, (began,))
                connection.execute(DROP_IMAGES, (now - KEPT_SECONDS,))
                connection.execute(DROP_MADE)
            connection.execute("COMMIT")

        self._execute(write)

    def flush(self) -> None:
        """Commit the pending records, in one transaction."""
        rows = list(self._pending.values())
        self._pending.clear()
        if rows:
            self._execute(lambda connection: _insert(connection, rows))

    def close(self) -> None:
        """Commit the pending records and close the file."""
        self.flush()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, statement: Callable[[sqlite3.Connection], T]) -> T | None:
        if self._connection is None:
            return None
        try:
            return statement(self._connection)
        except DATABASE_ERRORS as error:
            logger.warning("{} failed: {}; this pass continues without records", FILE, error)
            self._connection.close()
            self._connection = None
        return None


def _insert(connection: sqlite3.Connection, rows: list[Row]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(UPSERT_VERIFIED, rows)
    connection.execute("COMMIT")


@contextmanager
def open_records(data_dir: Path) -> Iterator[Records]:
    """Open the records of `data_dir`. If the file cannot be used, that is logged, and there are no records."""
    try:
        connection = DATABASE.connect(data_dir)
    except (*DATABASE_ERRORS, OSError) as error:
        logger.warning("{} cannot be used: {}; this pass continues without records", data_dir / FILE, error)
        connection = None
    with closing(Records(connection)) as records:
        yield records
