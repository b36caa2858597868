"""What a pass remembers, and what it makes of a memory that is damaged."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support import Proxy, Registry, Stall, User, wait_for

from imageporter.store import database, records


def rows(user: User) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(user.folder / "data" / records.FILE)) as database, database:
        return database.execute(
            "SELECT origin, target, digest FROM images WHERE digest IS NOT NULL ORDER BY target"
        ).fetchall()


def aged(user: User, seconds: float) -> None:
    """Make every record `seconds` older."""
    with closing(sqlite3.connect(user.folder / "data" / records.FILE)) as database, database:
        database.execute("UPDATE images SET verified = verified - ?", (seconds,))


def asks_target(user: User, target: Registry, **env: str) -> bool:
    """Whether a pass, which must succeed, asks the target."""
    crane, notes = user.noting_crane()
    notes.unlink(missing_ok=True)
    run = user.sync(CRANE=crane, FAST_LOOKUPS="false", **env)
    assert run.code == 0, run.output
    return f"digest {target}/app:1" in notes.read_text()


def test_a_fresh_record_saves_the_check(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    assert asks_target(user, target, TRUST_RECORDS="3600")
    assert rows(user) == [(f"{source}/app:1", f"{target}/app:1", digest)]
    assert not asks_target(user, target, TRUST_RECORDS="3600")
    assert asks_target(user, target)  # 0: always ask
    aged(user, 7200)
    assert asks_target(user, target, TRUST_RECORDS="3600")  # which makes it young again
    assert not asks_target(user, target, TRUST_RECORDS="3600")
    aged(user, -7200)  # of the future: the clock was set back
    assert asks_target(user, target, TRUST_RECORDS="3600")
    (user.folder / "data" / records.FILE).unlink()  # costs nothing but questions
    assert asks_target(user, target, TRUST_RECORDS="3600")


def test_a_source_that_moves_is_copied_whatever_was_recorded(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    assert user.sync(TRUST_RECORDS="3600").code == 0
    second = source.push("app:1", "second")
    assert asks_target(user, target, TRUST_RECORDS="3600")
    assert target.digest("app:1") == second


def test_a_copy_that_was_killed_leaves_no_record(user: User, source: Registry, target: Registry) -> None:
    """Else a source that goes back to what it was would be taken for equal."""
    source.push("app:1")
    stall = Stall()
    proxy = Proxy(target, stall)
    stall.release.set()
    user.images((f"{source}/app:1", f"{proxy}/app:1"))
    assert user.sync().code == 0
    assert len(rows(user)) == 1
    source.push("app:1", "second")
    stall.release.clear()
    stall.holding.clear()
    with user.running("sync.py") as running:
        wait_for(stall.holding.is_set, "the copy began")
        running.process.kill()
        running.process.wait()
    stall.release.set()
    assert rows(user) == []


def test_a_dry_run_records_what_is_equal_and_nothing_else(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    assert user.sync(DRY_RUN="true").code == 0
    assert rows(user) == []


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE birds (name TEXT)")


def torn(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(records.TABLE)
        connection.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {database.VERSION}")
        for number in range(2000):
            connection.execute(
                "INSERT INTO images (target, origin, digest, seen) VALUES (?, 's', 'd', 0)", (f"target{number}",)
            )
    connection.close()
    data = path.read_bytes()
    path.write_bytes(data[:8192] + b"\xff" * 4096 + data[12288:])


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("not a database " * 100), foreign, torn])
def test_a_damaged_or_foreign_database_is_set_aside(user: User, source: Registry, target: Registry, spoil: object) -> None:
    digest = source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    (user.folder / "data").mkdir()
    assert callable(spoil)
    spoil(user.folder / "data" / records.FILE)
    run = user.sync()
    assert run.code == 0, run.output
    warning = next(row["message"] for row in run.rows if records.FILE in row["message"])
    (aside,) = (user.folder / "data").glob("records.db.*.aside")
    assert warning.startswith("data/records.db cannot be used: ")
    assert warning.endswith(f"; it was renamed to {aside.name}, and a new file was created")
    assert rows(user) == [(f"{source}/app:1", f"{target}/app:1", digest)]
    assert "records" not in user.sync().output


def test_records_that_cannot_be_opened_cost_only_questions(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    (user.folder / "data" / records.FILE).mkdir(parents=True)
    run = user.sync()
    assert run.code == 0, run.output
    words = "data/records.db cannot be used: unable to open database file; this pass continues without records"
    assert words in [row["message"] for row in run.rows]
