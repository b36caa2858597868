"""What is known to be synced, and since when (SQLite).

A record is a convenience: without them, or without their file, a pass asks more and ends the same.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from loguru import logger

from imageporter.store.database import FAILURES, Database
from imageporter.model.rule import Image

T = TypeVar("T")

FILE = "records.db"
SCHEMA = """
CREATE TABLE IF NOT EXISTS synced (
  target TEXT PRIMARY KEY,
  source TEXT NOT NULL,
  digest TEXT NOT NULL,
  at     REAL NOT NULL  -- seconds since 1970
) WITHOUT ROWID
"""
# In WAL mode a loss of power may lose the last records, and damages nothing.
DATABASE = Database(FILE, "new records are", SCHEMA, synchronous="NORMAL")


class Records:
    """Which source each target was last found, or made, equal to; over one connection, whose calls come one by one.

    Several processes may use one file. No method raises: where the file fails, a warning says so once, and nothing
    is believed or recorded any more.
    """

    def __init__(self, database: sqlite3.Connection | None) -> None:
        self._database = database
        self._lock = threading.Lock()

    def verified(self, image: Image, digest: str) -> None:
        """Record that the target of `image` is its source, `digest`, now."""
        row = (str(image.target), str(image.source), digest, time.time())
        self._do(lambda database: database.execute("INSERT OR REPLACE INTO synced VALUES (?, ?, ?, ?)", row))

    def forget(self, image: Image) -> None:
        """Record nothing about the target of `image` any more: it is about to change."""
        self._do(lambda database: database.execute("DELETE FROM synced WHERE target = ?", (str(image.target),)))

    def believed(self, image: Image, digest: str, seconds: float) -> bool:
        """Whether a record not older than `seconds` says that the target of `image` is its source, `digest`."""
        if not seconds:
            return False
        asked = (str(image.target), str(image.source), digest)
        query = "SELECT at FROM synced WHERE target = ? AND source = ? AND digest = ? AND typeof(at) = 'real'"
        row = self._do(lambda database: database.execute(query, asked).fetchone())
        # A record of the future was written before the clock was set back: nobody knows how old it is.
        return row is not None and 0 <= time.time() - row[0] <= seconds

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        with self._lock:
            if self._database is None:
                return None
            try:
                return work(self._database)
            except FAILURES as error:
                logger.warning("{} fails: {}; this pass goes on without records", FILE, error)
                self._database.close()
                self._database = None
        return None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None


@contextmanager
def kept_in(data_dir: Path) -> Iterator[Records]:
    """The records of `data_dir`. A file that is damaged, or not ours, is set aside with a warning."""
    with closing(Records(_opened(data_dir))) as records:
        yield records


def _opened(data_dir: Path) -> sqlite3.Connection | None:
    try:
        return DATABASE.opened(data_dir)
    except (*FAILURES, OSError) as error:
        logger.warning("{} cannot be used: {}; this pass goes on without records", data_dir / FILE, error)
        return None
