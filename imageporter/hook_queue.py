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

from imageporter.database import FAILURES, Database
from imageporter.errors import UserError
from imageporter.report import INTERRUPTED, Outcome, Word
from imageporter.rules import Image, Rule, parse_side

T = TypeVar("T")

FILE = "queue.db"
PLACE = "the queue"
DAY = 24 * 3600
SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting (
  source   TEXT NOT NULL,
  target   TEXT NOT NULL,
  push     INTEGER NOT NULL,  -- which push wants it: another one than the last must not be taken for done
  since    REAL NOT NULL,     -- seconds since 1970
  attempts INTEGER NOT NULL DEFAULT 0,
  error    TEXT,
  PRIMARY KEY (source, target)
) WITHOUT ROWID
"""
PUT = """
INSERT INTO waiting (source, target, push, since) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET push = excluded.push, since = excluded.since, attempts = 0
"""
KNOWN = "SELECT 1 FROM waiting WHERE source = ? AND target = ?"
TAKE = "SELECT source, target, push FROM waiting ORDER BY since, push"
SHOW = "SELECT source, target, since, attempts, error FROM waiting ORDER BY since, push LIMIT 100"
DONE = "DELETE FROM waiting WHERE source = ? AND target = ? AND push = ?"
FAILED = """
UPDATE waiting SET attempts = attempts + 1, error = ? WHERE source = ? AND target = ? AND push = ?
RETURNING since, attempts
"""
DATABASE = Database(FILE, "queue", SCHEMA, synchronous="FULL")

Pair = tuple[str, str]


class FullError(Exception):
    """There is no room for what was to be put; nothing of it was."""


@dataclass(frozen=True)
class Put:
    """What became of the images that were put."""

    queued: tuple[Image, ...]
    already: tuple[Image, ...]


class Queue:
    """The queue, over one connection, whose calls come one by one; several processes may use one file.

    Without a connection, as where there never was a hook, it is empty.
    """

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._taken: dict[Pair, int] = {}

    def put(self, images: Iterable[Image], most: int) -> Put:
        """Queue `images`, all or none, so that at most `most` wait; when this returns, they are on disk.

        One that waits already waits once, but stays where a pass is just about to be done with it. Raises
        FullError, and sqlite3.Error where they could not be written.
        """
        wanted = {(str(image.source), str(image.target)): image for image in images}

        def work(connection: sqlite3.Connection) -> Put:
            known = {pair for pair in wanted if connection.execute(KNOWN, pair).fetchone()}
            new = [pair for pair in wanted if pair not in known]
            if new and _count(connection) + len(new) > most:
                raise FullError(f"the queue is full: {most} images wait")
            now = time.time()
            rows = [(*pair, time.time_ns(), now) for pair in wanted]
            connection.executemany(PUT, rows)
            return Put(tuple(wanted[pair] for pair in new), tuple(wanted[pair] for pair in wanted if pair in known))

        return self._at_once(work)

    def take(self) -> tuple[Rule, ...]:
        """What waits, the oldest first, as rules; `settle` is told what becomes of each."""
        rows: list[tuple[str, str, int]] = []
        if self._connection is not None:
            rows = self._at_once(lambda connection: connection.execute(TAKE).fetchall())
        self._taken = {(source, target): push for source, target, push in rows}
        return tuple(_rule(source, target) for source, target in self._taken)

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
                self._at_once(lambda connection: _failed(connection, (*pair, push), outcome.error or ""))
            else:
                self._at_once(lambda connection: connection.execute(DONE, (*pair, push)))
        except FAILURES as error:
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
        """What `work` gives, which sees and writes all or nothing."""
        with self._lock:
            if self._connection is None:
                raise sqlite3.ProgrammingError("the queue is closed")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        return result


@contextmanager
def kept_in(data_dir: Path, *, needed: bool) -> Iterator[Queue]:
    """The queue of `data_dir`. A file that is damaged, or not ours, is set aside with a warning.

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
    with closing(Queue(connection)) as queue:
        yield queue


def is_empty(data_dir: Path) -> bool:
    """Whether nothing waits in `data_dir`. Raises UserError where that cannot be said."""
    if not (data_dir / FILE).exists():
        return True
    with kept_in(data_dir, needed=True) as queue:
        return not queue.take()


def _count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM waiting").fetchone()[0])


def _failed(connection: sqlite3.Connection, row: tuple[str, str, int], error: str) -> None:
    known = connection.execute(FAILED, (error, *row)).fetchone()
    if known and time.time() - known[0] > DAY:
        connection.execute(DONE, row)
        words = "given up after a day and {} runs: {} -> {}: {}; the next full pass takes it up where a rule names it"
        logger.error(words, known[1], *row[:2], error)


def _rule(source: str, target: str) -> Rule:
    return Rule(PLACE, f"{source!r} -> {target!r}", parse_side(source), parse_side(target))
