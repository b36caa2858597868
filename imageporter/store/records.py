"""Records of targets (SQLite): when they were verified, for TRUST_RECORDS, and what their platforms became.

Records only save requests. Without them a pass checks every target and ends the same.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from loguru import logger

from imageporter.model.image import Image
from imageporter.store.database import DATABASE_ERRORS, Database

T = TypeVar("T")

FILE = "records.db"
# What is not committed yet is lost if the process is killed, and then looked up again.
MAX_PENDING = 100
MAX_PENDING_SECONDS = 0.5
TABLE = """
CREATE TABLE IF NOT EXISTS synced (
  target TEXT PRIMARY KEY,
  source TEXT NOT NULL,
  digest TEXT NOT NULL,
  at     REAL NOT NULL  -- seconds since 1970
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
INSERT_MADE = "INSERT OR REPLACE INTO made VALUES (?, ?, ?, ?)"
SELECT_MADE = "SELECT digest FROM made WHERE target = ? AND origin = ? AND source = ? AND typeof(digest) = 'text'"
INSERT = "INSERT OR REPLACE INTO synced VALUES (?, ?, ?, ?)"
DELETE = "DELETE FROM synced WHERE target = ?"
SELECT = "SELECT at FROM synced WHERE target = ? AND source = ? AND digest = ? AND typeof(at) = 'real'"
# In WAL mode a power failure may lose the last records, but does not damage the file.
DATABASE = Database(FILE, (TABLE, MADE_TABLE), synchronous="NORMAL")

Row = tuple[str, str, str, float]


class Records:
    """Which source and digest each target was last verified to be equal to. For one thread; processes may share the file.

    No method raises. After the first failure of the file, which is logged, nothing is recorded or fresh any more.
    """

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection = connection
        self._pending: dict[str, Row] = {}  # by target
        self._pending_since = 0.0

    def record_verified(self, image: Image, digest: str) -> None:
        """Record that the target of `image` equals its source, `digest`, now. It is committed within MAX_PENDING rows."""
        now = time.time()
        if not self._pending:
            self._pending_since = now
        target = str(image.target)
        self._pending[target] = (target, image.origin, digest, now)
        if len(self._pending) >= MAX_PENDING or abs(now - self._pending_since) > MAX_PENDING_SECONDS:
            self.flush()

    def invalidate(self, image: Image) -> None:
        """Delete the record of the target of `image`, which is about to change. This is committed at once."""
        target = str(image.target)
        self._pending.pop(target, None)
        self._execute(lambda connection: connection.execute(DELETE, (target,)))

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
    connection.executemany(INSERT, rows)
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
