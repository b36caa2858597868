"""Records of verified targets: several processes write them, and some are killed while they do."""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from unittest.mock import patch

import pytest
from support import BUNDLE

from imageporter.model.image import Image
from imageporter.model.outcome import Outcome, Status
from imageporter.model.reference import Reference
from imageporter.store import database, records
from imageporter.store.image_states import ImageStates
from imageporter.system.stopwatch import Stopwatch

IMAGE = Image("", Reference("source.example.com", "app", "1"), Reference("target.example.com", "app", "1"))
DIGEST = "sha256:" + "0" * 64

WRITER = """
import sys
from pathlib import Path
from imageporter.model.image import Image
from imageporter.model.reference import Reference
from imageporter.store.records import open_records
name, count = sys.argv[2], int(sys.argv[3])
with open_records(Path(sys.argv[1])) as records:
    for number in range(count):
        image = Image("", Reference("source.example.com", "app", "1"), Reference("target.example.com", name, str(number)))
        records.record_verified(image, "sha256:" + "0" * 64)
        print(number, flush=True)
"""


def writer(folder: Path, name: str, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count)]
    return subprocess.Popen(command, cwd=BUNDLE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def recorded(folder: Path, name: str) -> int:
    with closing(sqlite3.connect(folder / records.FILE)) as database, database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        query = "SELECT count(*) FROM images WHERE target LIKE ? AND digest IS NOT NULL"
        return int(database.execute(query, (f"target.example.com/{name}:%",)).fetchone()[0])


def test_four_processes_write_at_once(tmp_path: Path) -> None:
    processes = [writer(tmp_path, f"writer{number}", 300) for number in range(4)]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    assert [recorded(tmp_path, f"writer{number}") for number in range(4)] == [300] * 4


def test_kill_9_loses_at_most_the_pending_records(tmp_path: Path) -> None:
    for stop_after in (1, 50, 117, 400):
        name = f"killed{stop_after}"
        process = writer(tmp_path, name, 1_000_000)
        assert process.stdout
        for line in process.stdout:
            if int(line) >= stop_after:
                process.kill()
                break
        rest, errors = process.communicate(timeout=60)
        written = int((rest.split() or [line])[-1]) + 1
        assert errors == ""
        assert recorded(tmp_path, name) >= written - records.MAX_PENDING


def test_kill_9_loses_no_invalidation(tmp_path: Path) -> None:
    """The process is killed right after `invalidate`: a copy may have begun, so no record may be left."""
    with records.open_records(tmp_path) as opened:
        opened.record_verified(IMAGE, DIGEST)
    script = """
import os, signal, sys
from pathlib import Path
from imageporter.model.image import Image
from imageporter.model.reference import Reference
from imageporter.store.records import open_records
image = Image("", Reference("source.example.com", "app", "1"), Reference("target.example.com", "app", "1"))
with open_records(Path(sys.argv[1])) as records:
    records.record_verified(image, "sha256:" + "0" * 64)
    records.invalidate(image)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=BUNDLE, check=False).returncode == -9
    assert recorded(tmp_path, "app") == 0


def test_a_thousand_records_take_a_moment(tmp_path: Path) -> None:
    """They are written on the thread of the event loop. The bound is generous: a shared machine is noisy."""
    images = [Image("", IMAGE.source, Reference("target.example.com", "app", str(number))) for number in range(1000)]
    with records.open_records(tmp_path) as opened:
        began = time.monotonic()
        for image in images:
            opened.record_verified(image, DIGEST)
        seconds = time.monotonic() - began
    assert seconds < 0.3
    assert recorded(tmp_path, "app") == 1000


def test_a_pending_record_is_fresh_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_PENDING_SECONDS", 60)
    with records.open_records(tmp_path) as opened, records.open_records(tmp_path) as other:
        opened.record_verified(IMAGE, DIGEST)
        assert opened.is_fresh(IMAGE, DIGEST, 3600)
        assert not opened.is_fresh(IMAGE, "sha256:" + "1" * 64, 3600)
        assert not opened.is_fresh(IMAGE, DIGEST, 0)
        assert not other.is_fresh(IMAGE, DIGEST, 3600)
        opened.flush()
        assert other.is_fresh(IMAGE, DIGEST, 3600)
        opened.invalidate(IMAGE)
        assert not opened.is_fresh(IMAGE, DIGEST, 3600)
        assert not other.is_fresh(IMAGE, DIGEST, 3600)


def test_no_damage_of_one_byte_ends_a_pass(tmp_path: Path) -> None:
    """This includes damage in text that SQLite quotes and Python cannot decode."""
    path = tmp_path / records.FILE
    with records.open_records(tmp_path) as opened:
        opened.record_verified(IMAGE, DIGEST)
    whole = path.read_bytes()
    for place in range(0, len(whole), 31):
        path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        with records.open_records(tmp_path) as opened:
            opened.is_fresh(IMAGE, DIGEST, 3600)
            opened.record_verified(IMAGE, DIGEST)
        for file in tmp_path.iterdir():
            file.unlink()


def test_a_record_with_an_invalid_time_is_not_fresh(tmp_path: Path) -> None:
    with records.open_records(tmp_path) as opened:
        opened.record_verified(IMAGE, DIGEST)
        assert opened.is_fresh(IMAGE, DIGEST, 3600)
    with closing(sqlite3.connect(tmp_path / records.FILE)) as database, database:
        database.execute("UPDATE images SET verified = 'junk'")
    with records.open_records(tmp_path) as opened:
        assert not opened.is_fresh(IMAGE, DIGEST, 3600)


OLD = f"""
CREATE TABLE synced (target TEXT PRIMARY KEY, source TEXT NOT NULL, digest TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
INSERT INTO synced VALUES ('target.example.com/app:1', 'source.example.com/app:1', '{DIGEST}', {{now}});
PRAGMA application_id = {database.APPLICATION_ID};
PRAGMA user_version = {database.VERSION};
"""


def test_a_file_of_an_earlier_version_keeps_its_records(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / records.FILE)) as connection:
        connection.executescript(OLD.format(now=time.time() - 60))
    for _ in range(2):
        with records.open_records(tmp_path) as opened:
            assert opened.is_fresh(IMAGE, DIGEST, 3600)
            assert not opened.is_fresh(IMAGE, DIGEST, 30)
    with closing(sqlite3.connect(tmp_path / records.FILE)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema ORDER BY name")]
    assert tables == ["images", "made"]


def image_of(name: str) -> Image:
    return Image("", Reference("source.example.com", name, "1"), Reference("target.example.com", name, "1"))


def run_of(opened: records.Records, days: float, **statuses: Status) -> None:
    """A full pass some `days` ago, in which each image ended so."""
    stopwatch = Stopwatch(datetime.fromtimestamp(time.time() - days * 86400).astimezone())
    outcomes = [
        Outcome(image_of(name), status, error="e" if status is Status.FAILED else None) for name, status in statuses.items()
    ]
    with patch("time.time", return_value=stopwatch.started.timestamp()):
        for outcome in outcomes:
            if outcome.status in {Status.COPIED, Status.SKIPPED}:
                opened.record_verified(outcome.image, DIGEST, copied=outcome.status is Status.COPIED)
        opened.record_outcomes(outcomes, stopwatch, is_complete=True)


def states(folder: Path) -> dict[str, tuple[str | None, bool, bool, bool]]:
    """By name: the outcome, and whether it was verified, copied, and fails."""
    return {
        one.target.split("/")[1]: (one.outcome, bool(one.verified), bool(one.copied), bool(one.failing))
        for one in ImageStates(folder).select()
    }


def test_the_state_of_images_over_passes(tmp_path: Path) -> None:
    with records.open_records(tmp_path) as opened:
        run_of(opened, 50, a=Status.COPIED, b=Status.FAILED, c=Status.SKIPPED, d=Status.SKIPPED)
        assert states(tmp_path) == {
            "a:1": ("copied", True, True, False),
            "b:1": ("failed", False, False, True),
            "c:1": ("skipped", True, False, False),
            "d:1": ("skipped", True, False, False),
        }
        since = ImageStates(tmp_path).select("b:1")[0].failing
        run_of(opened, 40, a=Status.SKIPPED, b=Status.FAILED, c=Status.SKIPPED)
        assert states(tmp_path)["a:1"] == ("skipped", True, True, False), "when it was copied last stays"
        assert ImageStates(tmp_path).select("b:1")[0].failing == since
        assert "d:1" not in states(tmp_path), "no rule has it any more"
        opened.invalidate(image_of("a"))
        assert ImageStates(tmp_path).select("a:1")[0].digest is None
        run_of(opened, 15, a=Status.SKIPPED, b=Status.SKIPPED)
        assert states(tmp_path) == {"a:1": ("skipped", True, True, False), "b:1": ("skipped", True, False, False)}
        with closing(sqlite3.connect(tmp_path / records.FILE)) as connection:
            kept = [target for (target,) in connection.execute("SELECT target FROM images ORDER BY target")]
        assert kept == ["target.example.com/a:1", "target.example.com/b:1", "target.example.com/c:1"], "d was seen 50 days ago"
        run_of(opened, 14, d=Status.FAILED)
        assert states(tmp_path) == {"d:1": ("failed", False, False, True)}
        run_of(opened, 0, a=Status.SKIPPED)
        with closing(sqlite3.connect(tmp_path / records.FILE)) as connection:
            assert connection.execute("SELECT count(*) FROM images").fetchone() == (3,), "a, b and d"


def test_readers_of_what_is_not_there(tmp_path: Path) -> None:
    assert ImageStates(tmp_path).select() == []
    (tmp_path / records.FILE).write_text("not a database")
    assert ImageStates(tmp_path).count() == {}
    assert ImageStates(tmp_path).pairs() == []


def test_ten_thousand_outcomes_take_a_moment(tmp_path: Path) -> None:
    """The bound is generous: a shared machine is noisy."""
    outcomes = [Outcome(image_of(f"app-{number}"), Status.SKIPPED) for number in range(10_000)]
    with records.open_records(tmp_path) as opened:
        for _ in range(2):
            began = time.monotonic()
            opened.record_outcomes(outcomes, Stopwatch(), is_complete=True)
            assert time.monotonic() - began < 2
    assert ImageStates(tmp_path).count() == {"skipped": 10_000}


def test_a_target_belongs_to_its_first_image(tmp_path: Path) -> None:
    """The second one was refused, and is no image that could be queued."""
    other = Image("", Reference("source.example.com", "other", "1"), image_of("aa").target)
    with records.open_records(tmp_path) as opened:
        opened.record_verified(image_of("aa"), DIGEST, copied=True)
        outcomes = [Outcome(image_of("aa"), Status.COPIED), Outcome(other, Status.FAILED, error="is the target of aa already")]
        opened.record_outcomes(outcomes, Stopwatch(), is_complete=True)
        assert opened.is_fresh(image_of("aa"), DIGEST, 60)
    states = ImageStates(tmp_path)
    assert [(one.target, one.outcome, one.is_image) for one in states.select()] == [
        ("target.example.com/aa:1 from source.example.com/other:1", "failed", False),
        ("target.example.com/aa:1", "copied", True),
    ]
    assert states.pairs() == [(image_of("aa").source, image_of("aa").target)]


def test_another_source_has_no_past(tmp_path: Path) -> None:
    other = Image("", Reference("source.example.com", "new", "1"), image_of("aa").target)
    with records.open_records(tmp_path) as opened:
        run_of(opened, 1, aa=Status.COPIED)
        opened.record_outcomes([Outcome(other, Status.FAILED, error="e")], Stopwatch(), is_complete=True)
    (state,) = ImageStates(tmp_path).select()
    assert (state.source, state.verified, state.copied) == ("source.example.com/new:1", None, None)
    assert state.failing
    assert time.time() - state.failing < 60


def test_a_rule_that_cannot_be_listed_unlists_nothing(tmp_path: Path) -> None:
    rule = Image("", Reference("source.example.com", "aa"), Reference("target.example.com", "aa"))
    with records.open_records(tmp_path) as opened:
        run_of(opened, 1, aa=Status.COPIED, bb=Status.FAILED)
        opened.record_outcomes([Outcome(rule, Status.FAILED, error="e")], Stopwatch(), is_complete=True)
    assert states(tmp_path) == {
        "aa": ("failed", False, False, True),
        "bb:1": ("failed", False, False, True),
        "aa:1": ("copied", True, True, False),
    }
    assert ImageStates(tmp_path).pairs() == [(image_of(name).source, image_of(name).target) for name in ("aa", "bb")]
