"""Several processes write the same records, and some are killed while they do."""

import sqlite3
import subprocess
import sys
from pathlib import Path

from support import BUNDLE

from imageporter.store import records
from imageporter.model.reference import Reference
from imageporter.model.rule import Image

WRITER = """
import sys
from pathlib import Path
from imageporter.store import records
from imageporter.model.reference import Reference
from imageporter.model.rule import Image
name, count = sys.argv[2], int(sys.argv[3])
with records.kept_in(Path(sys.argv[1])) as known:
    for number in range(count):
        image = Image("", Reference("source.example.com", "app", "1"), Reference("target.example.com", name, str(number)))
        known.verified(image, "sha256:" + "0" * 64)
        print(number, flush=True)
"""


def writer(folder: Path, name: str, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count)]
    return subprocess.Popen(command, cwd=BUNDLE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def recorded(folder: Path, name: str) -> int:
    with sqlite3.connect(folder / records.FILE) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        query = "SELECT count(*) FROM synced WHERE target LIKE ?"
        return int(database.execute(query, (f"target.example.com/{name}:%",)).fetchone()[0])


def test_four_processes_write_at_once(tmp_path: Path) -> None:
    running = [writer(tmp_path, f"writer{number}", 300) for number in range(4)]
    for one in running:
        _, told = one.communicate(timeout=60)
        assert (one.returncode, told) == (0, "")
    assert [recorded(tmp_path, f"writer{number}") for number in range(4)] == [300] * 4


def test_kill_9_during_a_write_loses_nothing_that_was_written(tmp_path: Path) -> None:
    for stop_after in (1, 50, 117, 400):
        name = f"killed{stop_after}"
        process = writer(tmp_path, name, 1_000_000)
        assert process.stdout
        for line in process.stdout:
            if int(line) >= stop_after:
                process.kill()
                break
        left, told = process.communicate(timeout=60)
        written = int((left.split() or [line])[-1]) + 1
        assert told == ""
        assert recorded(tmp_path, name) >= written


IMAGE = Image("", Reference("source.example.com", "app", "1"), Reference("target.example.com", "app", "1"))
DIGEST = "sha256:" + "0" * 64


def test_no_damage_of_one_byte_ends_a_pass(tmp_path: Path) -> None:
    """Among it damage in the words that SQLite quotes, which Python cannot decode."""
    path = tmp_path / records.FILE
    with records.kept_in(tmp_path) as known:
        known.verified(IMAGE, DIGEST)
    whole = path.read_bytes()
    for place in range(0, len(whole), 13):
        path.write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        with records.kept_in(tmp_path) as known:
            known.believed(IMAGE, DIGEST, 3600)
            known.verified(IMAGE, DIGEST)
        for file in tmp_path.iterdir():
            file.unlink()


def test_a_time_that_is_none_is_not_believed(tmp_path: Path) -> None:
    with records.kept_in(tmp_path) as known:
        known.verified(IMAGE, DIGEST)
        assert known.believed(IMAGE, DIGEST, 3600)
    with sqlite3.connect(tmp_path / records.FILE) as database:
        database.execute("UPDATE synced SET at = 'junk'")
    with records.kept_in(tmp_path) as known:
        assert not known.believed(IMAGE, DIGEST, 3600)
