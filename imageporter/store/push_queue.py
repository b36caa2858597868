"""The queue of pushed images (SQLite).

A queued image is on disk. It stays there until a pass has verified its target, or until it has failed for a day.
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

from imageporter.model.image import Image, split_origin
from imageporter.model.outcome import Outcome, Status
from imageporter.model.rule import Rule, parse_selector
from imageporter.store.database import BUSY_SECONDS, DATABASE_ERRORS, Database, is_damage
from imageporter.system.errors import UserError

T = TypeVar("T")

FILE = "queue.db"
LOCATION = "the queue"
DAY = 24 * 3600
MIN_ATTEMPTS = 3  # before an image is given up, because clocks jump and machines sleep
MAX_REOPENS = 3
TABLE = """
CREATE TABLE IF NOT EXISTS waiting (
  target   TEXT PRIMARY KEY,
  source   TEXT NOT NULL,     -- and the platforms, if there are any (Image.origin)
  push     INTEGER NOT NULL,  -- the push that queued it: a later push must not be settled by an earlier copy
  since    REAL NOT NULL,     -- seconds since 1970
  failing  REAL,              -- when it first failed, seconds since 1970
  attempts INTEGER NOT NULL DEFAULT 0,
  error    TEXT
) WITHOUT ROWID
"""
# If two sources are pushed for one target, the later push wins.
UPSERT = """
INSERT INTO waiting (target, source, push, since) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET source = excluded.source, push = excluded.push, since = excluded.since,
  failing = NULL, attempts = 0, error = NULL
"""
SELECT_SOURCE = "SELECT source FROM waiting WHERE target = ?"
SELECT_SINCE = "SELECT since FROM waiting WHERE target = ?"
SELECT_ALL = "SELECT source, target, push FROM waiting ORDER BY since, push"
SELECT_OLDEST = "SELECT source, target, since, attempts, error FROM waiting ORDER BY since, push LIMIT 100"
COUNT = "SELECT count(*) FROM waiting"
DELETE = "DELETE FROM waiting WHERE target = ? AND source = ? AND push = ?"
UPDATE_FAILED = """
UPDATE waiting SET attempts = attempts + 1, failing = coalesce(failing, ?), error = ?
WHERE target = ? AND source = ? AND push = ? RETURNING failing, attempts
"""
DATABASE = Database(FILE, (TABLE,), synchronous="FULL", level="ERROR")

_UNFINISHED = frozenset({Status.INTERRUPTED, Status.WOULD_COPY})


class NoQueueError(sqlite3.ProgrammingError):
    """No webhook was ever received, or the queue is closed."""


class QueueFullError(Exception):
    """The queue has no room for the images, and none of them was queued."""


@dataclass(frozen=True)
class PutResult:
    """The images that were queued, and those that were in the queue `already`."""

    queued: tuple[Image, ...]
    already: tuple[Image, ...]


class PushQueue:
    """The queue in `data_dir`. Threads and processes may share it.

    If the file is removed or replaced, it is opened again. Without a connection (no webhook was ever received) the queue is
    empty. If it is `read_only`, `settle` does nothing.
    """

    def __init__(self, data_dir: Path, connection: sqlite3.Connection | None, *, read_only: bool = False) -> None:
        self._data_dir = data_dir
        self._connection = connection
        self._inode = self._current_inode()
        self._lock = threading.Lock()
        self._read_only = read_only
        self._taken: dict[tuple[str, str], tuple[str, int]] = {}  # (source, target): origin and push

    def put(self, images: Iterable[Image], limit: int) -> PutResult:
        """Queue all of `images` or none, so that at most `limit` are queued; they are on disk when this returns.

        An image that is queued already keeps its one row, but counts as pushed now, so that a running pass does not settle
        it. Raises QueueFullError, and DATABASE_ERRORS or OSError if the file cannot be written.
        """
        wanted = {str(image.target): image for image in images}

        def upsert(connection: sqlite3.Connection) -> PutResult:
            sources = {target: _scalar(connection, SELECT_SOURCE, target) for target in wanted}
            new = sum(source is None for source in sources.values())
            if new and _scalar(connection, COUNT) + new > limit:
                raise QueueFullError(f"the queue is full: it holds {limit} images at most")
            now = time.time()
            rows = [(target, image.origin, time.time_ns(), now) for target, image in wanted.items()]
            connection.executemany(UPSERT, rows)
            already = {target for target, image in wanted.items() if sources[target] == image.origin}
            return PutResult(
                tuple(image for target, image in wanted.items() if target not in already),
                tuple(image for target, image in wanted.items() if target in already),
            )

        return self._transaction(upsert)

    def take(self) -> tuple[Rule, ...]:
        """Return the queued images as rules, the oldest first. They stay queued until `settle` removes them."""
        rows: list[tuple[str, str, int]] = []
        path = self._data_dir / FILE
        if self._connection is not None:
            try:
                rows = self._transaction(lambda connection: connection.execute(SELECT_ALL).fetchall())
            except (*DATABASE_ERRORS, OSError) as error:
                logger.error("{} cannot be read: {}; the queued images stay queued", path, error)
        rules = []
        for source, target, push in rows:
            try:
                rule = _rule(source, target)
                (image,) = rule.images()
                rules.append(rule)
                self._taken[str(image.source), str(image.target)] = source, push
            except (ValueError, TypeError, AttributeError) as error:  # somebody has edited the file
                logger.error("{} has an invalid image: {}; it is skipped", path, error)
        return tuple(rules)

    def settle(self, outcome: Outcome) -> None:
        """Remove the image of `outcome` if its target is verified. If it failed, keep it with its error, for a day.

        An image that was pushed again after `take` stays. Does not raise: an image that cannot be removed is only checked
        once more.
        """
        target = str(outcome.image.target)
        taken = self._taken.get((str(outcome.image.source), target))
        if taken is None or self._read_only or outcome.status in _UNFINISHED:
            return
        key = (target, *taken)
        try:
            if outcome.status is Status.FAILED:
                error = outcome.error or ""
                self._transaction(lambda connection: _record_failure(connection, key, error))
            else:
                self._transaction(lambda connection: connection.execute(DELETE, key))
        except (*DATABASE_ERRORS, OSError) as error:
            logger.warning("{} failed: {}; {} stays queued", FILE, error, outcome.image)

    def status(self) -> dict[str, Any]:
        """Return the number of queued images, the time of the oldest (seconds since 1970), and the oldest 100."""
        keys = ("source", "target", "since", "attempts", "error")

        def select(connection: sqlite3.Connection) -> dict[str, Any]:
            rows = [dict(zip(keys, row, strict=True)) for row in connection.execute(SELECT_OLDEST)]
            return {
                "images": _scalar(connection, COUNT),
                "oldest": rows[0]["since"] if rows else None,
                "waiting": rows,
            }

        return self._transaction(select)

    def waiting_since(self, targets: Iterable[str]) -> dict[str, float]:
        """Return since when (seconds since 1970) each of `targets` is queued, of those that are."""

        def select(connection: sqlite3.Connection) -> dict[str, float]:
            found = {target: _scalar(connection, SELECT_SINCE, target) for target in targets}
            return {target: since for target, since in found.items() if since is not None}

        return self._transaction(select)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of `work`, done in one transaction on the file that was there before and is there after."""
        if not self._lock.acquire(timeout=BUSY_SECONDS):
            raise sqlite3.OperationalError("the queue is busy")
        try:
            if self._connection is None:
                raise NoQueueError("there is no queue")
            for _ in range(MAX_REOPENS):
                if self._current_inode() != self._inode:
                    self._reopen()
                try:
                    result = _transaction(self._connection, work)
                except DATABASE_ERRORS as error:
                    if not is_damage(error):
                        raise
                    self._reopen()
                    continue
                if self._current_inode() == self._inode:
                    return result
            raise sqlite3.OperationalError(f"{FILE} is being replaced again and again")
        finally:
            self._lock.release()

    def _reopen(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = DATABASE.connect(self._data_dir)
        self._inode = self._current_inode()

    def _current_inode(self) -> tuple[int, int] | None:
        try:
            found = (self._data_dir / FILE).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


@contextmanager
def open_queue(data_dir: Path, *, required: bool, read_only: bool = False) -> Iterator[PushQueue]:
    """Open the queue of `data_dir`. A dry run opens it `read_only`.

    If it is not `required`, no file is created, and a file that cannot be used is only logged. If it is `required`, this
    raises UserError.
    """
    path = data_dir / FILE
    connection = None
    if required or path.exists():
        try:
            connection = DATABASE.connect(data_dir)
        except (*DATABASE_ERRORS, OSError) as error:
            message = f"{path} cannot be used: {error}; correct its owner, or remove it"
            if required:
                raise UserError([f"DATA_DIR: {message}"]) from None
            logger.error("{}; the queued images stay queued", message)
    with closing(PushQueue(data_dir, connection, read_only=read_only)) as queue:
        yield queue


def is_empty(data_dir: Path) -> bool:
    """Return whether no image is queued in `data_dir`. Raises UserError if the file cannot be used."""
    if not (data_dir / FILE).exists():
        return True
    with open_queue(data_dir, required=True) as queue:
        return not queue.take()


def _transaction(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _scalar(connection: sqlite3.Connection, query: str, *parameters: str) -> Any:
    """Return the first column of the first row, or None."""
    row = connection.execute(query, parameters).fetchone()
    return row and row[0]


def _record_failure(connection: sqlite3.Connection, key: tuple[Any, ...], error: str) -> None:
    now = time.time()
    row = connection.execute(UPDATE_FAILED, (now, error, *key)).fetchone()
    if row and now - row[0] > DAY and row[1] >= MIN_ATTEMPTS:
        connection.execute(DELETE, key)
        message = "given up after a day and {} runs: {} -> {}: {}; the next full pass retries it if a rule covers it"
        logger.error(message, row[1], key[1], key[0], error)


def _rule(origin: str, target: str) -> Rule:
    source, platforms, referrers, key = split_origin(origin)
    text = f"{source!r} -> {target!r}"
    return Rule(LOCATION, text, parse_selector(source), parse_selector(target), platforms, referrers, key, yields=True)
