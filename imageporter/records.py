"""What is known to be synced, and since when (SQLite). The only room that knows SQL.

A record is a convenience: without them, or without their file, a pass asks more and ends the same.
"""

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from loguru import logger

from imageporter.rules import Image

T = TypeVar("T")

FILE = "records.db"
APPLICATION = 0x696D7074  # "impt", so that another program's database is known as such
VERSION = 1
BUSY_SECONDS = 5  # and then without records: a signal must not wait longer
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
SCHEMA = """
CREATE TABLE IF NOT EXISTS synced (
  target TEXT PRIMARY KEY,
  source TEXT NOT NULL,
  digest TEXT NOT NULL,
  at     REAL NOT NULL  -- seconds since 1970
) WITHOUT ROWID
"""


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
            except (sqlite3.Error, UnicodeDecodeError) as error:
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
    with closing(Records(_opened(data_dir / FILE))) as records:
        yield records


def _opened(path: Path) -> sqlite3.Connection | None:
    try:
        # Two processes must not set the file aside one after the other: the second would take the new one away.
        with _door(path.parent):
            try:
                return _connected(path)
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                # Where the damage is in SQLite's own words, Python cannot even read the error.
                code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
                if code & 0xFF not in DAMAGED:
                    raise
                _set_aside(path, "it is damaged" if isinstance(error, UnicodeDecodeError) else str(error))
                return _connected(path)
    except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
        logger.warning("{} cannot be used: {}; this pass goes on without records", path, error)
        return None


@contextmanager
def _door(folder: Path) -> Iterator[None]:
    """A context in which one process is at a time."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def _connected(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        if database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            _examine(database)
        database.execute("PRAGMA journal_mode = WAL")
        # In WAL mode a loss of power may lose the last records, and damages nothing.
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("BEGIN IMMEDIATE")
        database.execute(SCHEMA)
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")
    except BaseException:
        database.close()
        raise
    return database


def _examine(database: sqlite3.Connection) -> None:
    """Raise DatabaseError, with the code of a damaged file, where the database is damaged or not ours."""
    known = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    found = "not the records of this program"
    if known == [APPLICATION, VERSION]:
        found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        error = sqlite3.DatabaseError(found)
        error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise error


def _set_aside(path: Path, reason: str) -> None:
    aside = path.with_name(f"{FILE}.{time.strftime('%Y%m%dT%H%M%S')}.aside")
    for ending in ("", "-wal", "-shm"):
        file = path.with_name(path.name + ending)
        if file.exists():
            file.rename(aside.with_name(aside.name + ending))
    logger.warning("{} cannot be used: {}; it is set aside as {}, and new records are begun", path, reason, aside.name)
