"""The queue of hooked images (SQLite): what was pushed, and is not yet verified at its target.

An image that was put is on disk, and stays there until a pass has verified it, or a day has gone by.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from loguru import logger

from imageporter.store.database import BUSY_SECONDS, FAILURES, Database, is_damage
from imageporter.system.errors import UserError
from imageporter.engine.summary import INTERRUPTED, Outcome, Word
from imageporter.model.rule import Image, Rule, parse_side

T = TypeVar("T")

FILE = "queue.db"
PLACE = "the queue"
DAY = 24 * 3600
TRIES = 3
ATTEMPTS = 3  # at least, before it is given up: clocks jump, and machines sleep
SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (
  target   TEXT PRIMARY KEY,
  source   TEXT NOT NULL,
  push     INTEGER NOT NULL,  -- which push wants it: another one than the last must not be taken for done
  since    REAL NOT NULL,     -- seconds since 1970
  failing  REAL,              -- since when, likewise
  attempts INTEGER NOT NULL DEFAULT 0,
  error    TEXT
) WITHOUT ROWID
"""
# Of two sources of one target, the one that was pushed last is what the target shall be.
PUT = """
INSERT INTO waiting (target, source, push, since) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET source = excluded.source, push = excluded.push, since = excluded.since,
  failing = NULL, attempts = 0, error = NULL
"""
KNOWN = "SELECT source FROM waiting WHERE target = ?"
TAKE = "SELECT source, target, push FROM waiting ORDER BY since, push"
SHOW = "SELECT source, target, since, attempts, error FROM waiting ORDER BY since, push LIMIT 100"
DONE = "DELETE FROM waiting WHERE target = ? AND source = ? AND push = ?"
FAILED = """
UPDATE waiting SET attempts = attempts + 1, failing = coalesce(failing, ?), error = ?
WHERE target = ? AND source = ? AND push = ? RETURNING failing, attempts
"""
DATABASE = Database(FILE, "a new queue is", SCHEMA, synchronous="FULL", level="ERROR")

Pair = tuple[str, str]


class FullError(Exception):
    """There is no room for what was to be put; nothing of it was."""


@dataclass(frozen=True)
class Put:
    """What became of the images that were put."""

    queued: tuple[Image, ...]
    already: tuple[Image, ...]


class Queue:
    """The queue in `data_dir`, over one connection, whose calls come one by one; several processes may use one file.

    The file is followed: where it was taken away, or set aside, there is a new one. Without a connection, as where there
    never was a hook, the queue is empty.
    """

    def __init__(self, data_dir: Path, connection: sqlite3.Connection | None) -> None:
        self._data_dir = data_dir
        self._connection = connection
        self._inode = self._inode_now()
        self._lock = threading.Lock()
        self._taken: dict[Pair, int] = {}

    def put(self, images: Iterable[Image], most: int) -> Put:
        """Queue `images`, all or none, so that at most `most` wait; when this returns, they are on disk.

        One that waits already waits once, but stays where a pass is just about to be done with it. Raises
        FullError, and sqlite3.Error or OSError where they could not be written.
        """
        wanted = {str(image.target): image for image in images}

        def work(connection: sqlite3.Connection) -> Put:
            known = {target: _first(connection.execute(KNOWN, (target,))) for target in wanted}
            new = sum(source is None for source in known.values())
            if new and _count(connection) + new > most:
                raise FullError(f"the queue is full: {most} images wait")
            now = time.time()
            rows = [(target, str(image.source), time.time_ns(), now) for target, image in wanted.items()]
            connection.executemany(PUT, rows)
            already = {target for target, image in wanted.items() if known[target] == str(image.source)}
            return Put(
                tuple(image for target, image in wanted.items() if target not in already),
                tuple(image for target, image in wanted.items() if target in already),
            )

        return self._at_once(work)

    def take(self) -> tuple[Rule, ...]:
        """What waits, the oldest first, as rules; `settle` is told what becomes of each."""
        rows: list[tuple[str, str, int]] = []
        if self._connection is not None:
            try:
                rows = self._at_once(lambda connection: connection.execute(TAKE).fetchall())
            except (*FAILURES, OSError) as error:
                logger.error("{} cannot be read: {}; what was hooked waits on", self._data_dir / FILE, error)
        rules = []
        for source, target, push in rows:
            try:
                rules.append(_rule(source, target))
                self._taken[source, target] = push
            except ValueError as error:  # somebody has written into the file
                logger.error("{} has an image that is none: {}; it is left out", self._data_dir / FILE, error)
        return tuple(rules)

    def settle(self, outcome: Outcome) -> None:
        """Take out what is verified at its target; of what has failed, keep the error, for a day.

        Does not raise: what cannot be written waits on, and the next run finds it equal.
        """
        pair = (str(outcome.image.source), str(outcome.image.target))
        push = self._taken.get(pair)
        if push is None or outcome.error == INTERRUPTED or outcome.word is Word.WOULD_COPY:
            return
        try:
            if outcome.word is Word.FAILED:
                self._at_once(lambda connection: _failed(connection, pair, push, outcome.error or ""))
            else:
                self._at_once(lambda connection: connection.execute(DONE, (*reversed(pair), push)))
        except (*FAILURES, OSError) as error:
            logger.warning("{} fails: {}; {} -> {} waits on", FILE, error, *pair)

    def status(self) -> dict[str, Any]:
        """How many images wait, since when (seconds since 1970) the oldest, and the oldest 100 of them."""
        keys = ("source", "target", "since", "attempts", "error")

        def work(connection: sqlite3.Connection) -> dict[str, Any]:
            rows = [dict(zip(keys, row, strict=True)) for row in connection.execute(SHOW)]
            return {"images": _count(connection), "oldest": rows[0]["since"] if rows else None, "waiting": rows}

        return self._at_once(work)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _at_once(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` gives, which sees and writes all or nothing, in the file that is there before and after."""
        if not self._lock.acquire(timeout=BUSY_SECONDS):
            raise sqlite3.OperationalError("the queue is busy")
        try:
            if self._connection is None:
                raise sqlite3.ProgrammingError("the queue is closed")
            for _ in range(TRIES):
                if self._inode_now() != self._inode:
                    self._open_again()
                try:
                    result = _done(self._connection, work)
                except FAILURES as error:
                    if not is_damage(error):
                        raise
                    self._open_again()
                    continue
                if self._inode_now() == self._inode:
                    return result
            raise sqlite3.OperationalError(f"{FILE} does not stay what it is")
        finally:
            self._lock.release()

    def _open_again(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = DATABASE.opened(self._data_dir)
        self._inode = self._inode_now()

    def _inode_now(self) -> tuple[int, int] | None:
        try:
            found = (self._data_dir / FILE).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _done(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    """What `work` gives, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


@contextmanager
def kept_in(data_dir: Path, *, needed: bool) -> Iterator[Queue]:
    """The queue of `data_dir`. A file that is damaged, or not ours, is set aside, which the log tells as an error.

    Where it is not `needed`, there is none before the first push, and a file that cannot be used is only told.
    Raises UserError where it is needed and cannot be used.
    """
    path = data_dir / FILE
    connection = None
    if needed or path.exists():
        try:
            connection = DATABASE.opened(data_dir)
        except (*FAILURES, OSError) as error:
            what = f"{path} cannot be used: {error}; correct its owner, or remove it"
            if needed:
                raise UserError([f"DATA_DIR: {what}"]) from None
            logger.error("{}; what was hooked waits on", what)
    with closing(Queue(data_dir, connection)) as queue:
        yield queue


def is_empty(data_dir: Path) -> bool:
    """Whether nothing waits in `data_dir`. Raises UserError where that cannot be said."""
    if not (data_dir / FILE).exists():
        return True
    with kept_in(data_dir, needed=True) as queue:
        return not queue.take()


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM waiting").fetchone()[0])


def _first(found: sqlite3.Cursor) -> Any:
    row = found.fetchone()
    return row and row[0]


def _failed(connection: sqlite3.Connection, pair: Pair, push: int, error: str) -> None:
    now = time.time()
    row = (*reversed(pair), push)
    known = connection.execute(FAILED, (now, error, *row)).fetchone()
    if known and now - known[0] > DAY and known[1] >= ATTEMPTS:
        connection.execute(DONE, row)
        words = "given up after a day and {} runs: {} -> {}: {}; the next full pass takes it up where a rule names it"
        logger.error(words, known[1], *pair, error)


def _rule(source: str, target: str) -> Rule:
    return Rule(PLACE, f"{source!r} -> {target!r}", parse_side(source), parse_side(target))
