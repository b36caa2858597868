"""Records of verified targets: several processes write them, and some are killed while they do."""

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from support import BUNDLE

from imageporter.model.image import Image
from imageporter.model.reference import Reference
from imageporter.store import records

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
