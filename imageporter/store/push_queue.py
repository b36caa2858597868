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

from imageporter.model.image import Image
from imageporter.model.outcome import Outcome, Status
from imageporter.model.rule import Rule
from imageporter.model.shard import Shard
from imageporter.store.database import BUSY_SECONDS, DATABASE_ERRORS, is_damage
from imageporter.store.queue_rows import (
    COUNT,
    DATABASE,
    FILE,
    SELECT_ALL,
    SELECT_OLDEST,
    SELECT_SINCE,
    SELECT_SOURCE,
    UPSERT,
    belongs,
    rule_of,
    scalar,
)
from imageporter.store.queue_rows import settle as settle_row
from imageporter.system.errors import UserError

T = TypeVar("T")

MAX_REOPENS = 3
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
    empty. If it is `read_only`, `settle` does nothing. Only images of `shard` are taken, if there is one.
    """

    def __init__(
        self, data_dir: Path, connection: sqlite3.Connection | None, *, read_only: bool = False, shard: Shard | None = None
    ) -> None:
        self._data_dir = data_dir
        self._shard = shard
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
            sources = {target: scalar(connection, SELECT_SOURCE, target) for target in wanted}
            new = sum(source is None for source in sources.values())
            if new and scalar(connection, COUNT) + new > limit:
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
                rows = self._transaction(self._own)
            except (*DATABASE_ERRORS, OSError) as error:
                logger.error("{} cannot be read: {}; the queued images stay queued", path, error)
        rules = []
        for source, target, push in rows:
            try:
                rule = rule_of(source, target)
                (image,) = rule.images()
                rules.append(rule)
                self._taken[str(image.source), str(image.target)] = source, push
            except (ValueError, TypeError, AttributeError) as error:  # somebody has edited the file
                logger.error("{} has an invalid image: {}; it is skipped", path, error)
        return tuple(rules)

    def _own(self, connection: sqlite3.Connection) -> list[tuple[str, str, int]]:
        """Return the rows of this shard; all of them without one."""
        rows = connection.execute(SELECT_ALL).fetchall()
        return [row for row in rows if self._shard is None or belongs(row[1], self._shard)]

    def is_empty(self) -> bool:
        """Return whether no image of this shard is queued. Raises DATABASE_ERRORS or OSError."""
        return not self._transaction(self._own)

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
            error = (outcome.error or "") if outcome.status is Status.FAILED else None
            self._transaction(lambda connection: settle_row(connection, key, error))
        except (*DATABASE_ERRORS, OSError) as error:
            logger.warning("{} failed: {}; {} stays queued", FILE, error, outcome.image)

    def status(self) -> dict[str, Any]:
        """Return the number of queued images, the time of the oldest (seconds since 1970), and the oldest 100."""
        keys = ("source", "target", "since", "attempts", "error")

        def select(connection: sqlite3.Connection) -> dict[str, Any]:
            rows = [dict(zip(keys, row, strict=True)) for row in connection.execute(SELECT_OLDEST)]
            return {
                "images": scalar(connection, COUNT),
                "oldest": rows[0]["since"] if rows else None,
                "waiting": rows,
            }

        return self._transaction(select)

    def waiting_since(self, targets: Iterable[str]) -> dict[str, float]:
        """Return since when (seconds since 1970) each of `targets` is queued, of those that are."""

        def select(connection: sqlite3.Connection) -> dict[str, float]:
            found = {target: scalar(connection, SELECT_SINCE, target) for target in targets}
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
def open_queue(data_dir: Path, *, required: bool, read_only: bool = False, shard: Shard | None = None) -> Iterator[PushQueue]:
    """Open the queue of `data_dir`. A dry run opens it `read_only`, and a shard takes only what is its own.

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
    with closing(PushQueue(data_dir, connection, read_only=read_only, shard=shard)) as queue:
        yield queue


def is_empty(data_dir: Path, shard: Shard | None) -> bool:
    """Return whether no image in `data_dir` is to be taken, by `shard` if there is one. Raises UserError if it is unusable."""
    if not (data_dir / FILE).exists():
        return True
    with open_queue(data_dir, required=True, shard=shard) as queue:
        return queue.is_empty()


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
