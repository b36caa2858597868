"""The rows of the queue of pushed images: their tables, and what is done to them in one transaction."""

import sqlite3
import time
from typing import Any

from loguru import logger

from imageporter.model.image import split_origin
from imageporter.model.reference import parse
from imageporter.model.rule import Rule, parse_selector
from imageporter.model.shard import Shard
from imageporter.store.database import Database

FILE = "queue.db"
LOCATION = "the queue"
DAY = 24 * 3600
MIN_ATTEMPTS = 3  # before an image is given up, because clocks jump and machines sleep
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
ON CONFLICT DO UPDATE SET source = excluded.source, push = excluded.push,
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


def belongs(target: str, shard: Shard) -> bool:
    """Return whether `target` belongs to `shard`. What is no reference belongs to the first, which logs it."""
    try:
        return shard.has(parse(target))
    except ValueError:
        return shard.number == 1


def scalar(connection: sqlite3.Connection, query: str, *parameters: str) -> Any:
    """Return the first column of the first row, or None."""
    row = connection.execute(query, parameters).fetchone()
    return row and row[0]


def settle(connection: sqlite3.Connection, key: tuple[Any, ...], error: str | None) -> None:
    """Remove the image `key`, or keep it with its `error`."""
    if error is None:
        connection.execute(DELETE, key)
    else:
        _record_failure(connection, key, error)


def _record_failure(connection: sqlite3.Connection, key: tuple[Any, ...], error: str) -> None:
    now = time.time()
    row = connection.execute(UPDATE_FAILED, (now, error, *key)).fetchone()
    if row and now - row[0] > DAY and row[1] >= MIN_ATTEMPTS:
        connection.execute(DELETE, key)
        message = "given up after a day and {} runs: {} -> {}: {}; the next full pass retries it if a rule covers it"
        logger.error(message, row[1], key[1], key[0], error)


def rule_of(origin: str, target: str) -> Rule:
    """Return a queued image as a rule. Raises ValueError, TypeError or AttributeError if somebody has edited the file."""
    source, platforms, referrers, key = split_origin(origin)
    text = f"{source!r} -> {target!r}"
    return Rule(LOCATION, text, parse_selector(source), parse_selector(target), platforms, referrers, key, yields=True)
