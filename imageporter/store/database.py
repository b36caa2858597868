"""SQLite files in DATA_DIR: opened, made, examined, and set aside where they are damaged or not ours."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

APPLICATION = 0x696D7074  # "impt", so that another program's database is known as such
VERSION = 1
BUSY_SECONDS = 5  # and then without: a signal must not wait longer
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# What SQLite raises, and Python where the damage is in SQLite's own words.
FAILURES = (sqlite3.Error, UnicodeDecodeError)


@dataclass(frozen=True)
class Database:
    """A kind of file: its name in DATA_DIR, what a new one is (`new records are`), its tables, and PRAGMA synchronous.

    `level` is that of the log line where a file is set aside.
    """

    file: str
    content: str
    schema: str
    synchronous: str
    level: str = "WARNING"

    def opened(self, data_dir: Path) -> sqlite3.Connection:
        """A connection for several threads, one at a time, that commits each statement by itself.

        A file that is damaged, or not ours, is set aside with a warning. Raises FAILURES or OSError where there
        is no way to open the file, or a new one.
        """
        path = data_dir / self.file
        # Two processes must not set the file aside one after the other: the second would take the new one away.
        with _door(data_dir):
            try:
                return self._connected(path)
            except FAILURES as error:
                if not is_damage(error):
                    raise
                self._set_aside(path, "it is damaged" if isinstance(error, UnicodeDecodeError) else str(error))
                return self._connected(path)

    def _connected(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                self._examine(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self.synchronous}")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(self.schema)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def _examine(self, connection: sqlite3.Connection) -> None:
        """Raise DatabaseError, with the code of a damaged file, where the database is damaged or not ours."""
        known = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        found = "not a file of this program"
        if known == [APPLICATION, VERSION]:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            error = sqlite3.DatabaseError(found)
            error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
            raise error

    def _set_aside(self, path: Path, reason: str) -> None:
        aside = path.with_name(f"{self.file}.{time.strftime('%Y%m%dT%H%M%S')}.aside")
        for ending in ("", "-wal", "-shm"):
            file = path.with_name(path.name + ending)
            if file.exists():
                file.rename(aside.with_name(aside.name + ending))
        words = "{} cannot be used: {}; it is set aside as {}, and {} begun"
        logger.log(self.level, words, path, reason, aside.name, self.content)


def is_damage(error: Exception) -> bool:
    """Whether `error`, one of FAILURES, says that a file is damaged, or not ours."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in DAMAGED


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
