"""SQLite files in DATA_DIR. A file that is damaged, or not ours, is moved aside and replaced."""

import errno
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loguru import logger

from imageporter.system.file_locks import acquire

APPLICATION_ID = 0x696D7074  # "impt"; it distinguishes our files from those of other programs
VERSION = 1
BUSY_SECONDS = 5  # how long to wait for another process: a shutdown must not take longer
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# UnicodeDecodeError: the damage may be in text that SQLite quotes in its error message.
DATABASE_ERRORS = (sqlite3.Error, UnicodeDecodeError)


@dataclass(frozen=True)
class Database:
    """A kind of SQLite file: its name in DATA_DIR, the statements that create its tables, and its `PRAGMA synchronous`.

    `level` is the level of the log line if a file is moved aside. `migrations` are the statements that move the rows of a
    table of an earlier version (by its name) and drop it.
    """

    file: str
    tables: tuple[str, ...]
    synchronous: str
    level: str = "WARNING"
    migrations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def connect(self, data_dir: Path) -> sqlite3.Connection:
        """Return an autocommit connection, which threads may share if only one uses it at a time.

        A file that is damaged, or not ours, is moved aside and replaced by an empty one, which is logged. Raises
        DATABASE_ERRORS or OSError if the file cannot be opened or created.
        """
        path = data_dir / self.file
        # Without the lock, two processes could both find the damage, and the second would move the new file aside.
        with directory_lock(data_dir):
            try:
                return self._open(path)
            except DATABASE_ERRORS as error:
                if not is_damage(error):
                    raise
                self._move_aside(path, "it is damaged" if isinstance(error, UnicodeDecodeError) else str(error))
                return self._open(path)

    def _open(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                _verify(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self.synchronous}")
            connection.execute("BEGIN IMMEDIATE")
            for statement in self.tables:
                connection.execute(statement)
            for table, statements in self.migrations.items():
                if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone():
                    for statement in statements:
                        connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def _move_aside(self, path: Path, reason: str) -> None:
        aside = path.with_name(f"{self.file}.{time.strftime('%Y%m%dT%H%M%S')}.aside")
        for suffix in ("", "-wal", "-shm"):
            file = path.with_name(path.name + suffix)
            if file.exists():
                file.rename(aside.with_name(aside.name + suffix))
        message = "{} cannot be used: {}; it was renamed to {}, and a new file was created"
        logger.log(self.level, message, path, reason, aside.name)


def is_damage(error: Exception) -> bool:
    """Return whether `error`, one of DATABASE_ERRORS, means that the file is damaged, or not ours."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _DAMAGED


def _verify(connection: sqlite3.Connection) -> None:
    """Raise DatabaseError, with the code of a damaged file, if the database is damaged or not ours."""
    marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    result = "not a file of this program"
    if marks == [APPLICATION_ID, VERSION]:
        result = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if result != "ok":
        error = sqlite3.DatabaseError(result)
        error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise error


@contextmanager
def directory_lock(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on the directory `folder`. Raises BlockingIOError if it is not free within BUSY_SECONDS."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not acquire(descriptor, seconds=BUSY_SECONDS):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        yield
    finally:
        os.close(descriptor)
