"""The report file: replaced atomically, read without its images."""

import time
from pathlib import Path
from typing import Any, cast

import pytest

from imageporter.model.report import Report, RunKind, failing_since, is_failure
from imageporter.store.report import read_report, report_path, write_report
from imageporter.system import logs

RUNS: tuple[RunKind, ...] = ("pass", "queue", "images")


def read(path: Path) -> Any:
    return read_report(path)


def test_what_is_written_is_read_without_the_images(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(path, {"copied": 1, "images": [{"source": "é"}]})
    assert read(path) == {"copied": 1}
    assert "é" in path.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [None, "", "[]", "{", "\udcff"])
def test_a_report_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content, errors="surrogateescape")
    assert read_report(path) is None


def test_each_kind_of_run_has_files_of_its_own(tmp_path: Path) -> None:
    names = [report_path(tmp_path, run, dry_run=dry_run).name for run in RUNS for dry_run in (False, True)]
    assert names == [
        *("report.json", "report-dry-run.json", "report-queue.json", "report-queue-dry-run.json"),
        *("report-images.json", "report-images-dry-run.json"),
    ]


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_report(path, {"problems": ["\udcff.json: not found", "\ud800"]})
    assert read(path) == {"problems": ["\udcff.json: not found", "\ud800"]}


def test_a_newer_report_stays(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    before = time.time() - 60
    write_report(path, {"exit_code": 75}, unless_newer_than=before)
    assert read(path) == {"exit_code": 75}
    write_report(path, {"exit_code": 0})
    write_report(path, {"exit_code": 75}, unless_newer_than=before)
    assert read(path) == {"exit_code": 0}


def test_a_report_that_cannot_be_written_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    path = tmp_path / "report.json"
    path.mkdir()
    write_report(path, {})
    assert capsys.readouterr().out.endswith(f"ERROR   {path} cannot be written: Is a directory\n")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("exit_code", "previous", "failure"),
    [
        *((0, None, False), (1, None, True), (2, None, True), (130, None, False), (143, None, False), (137, None, True)),
        *((75, None, False), (75, 0, False), (75, 1, False), (75, 75, True), (1, 75, True), (0, 75, False)),
    ],
)
def test_a_locked_pass_is_a_failure_the_second_time(exit_code: int, previous: int | None, failure: bool) -> None:  # noqa: FBT001
    before = None if previous is None else cast("Report", {"exit_code": previous})
    assert is_failure(exit_code, before) == failure
    assert not is_failure(75, cast("Report", {}))


def test_since_when_runs_fail() -> None:
    assert failing_since(None) is None
    assert failing_since(cast("Report", {})) is None
    assert failing_since(cast("Report", {"failing_since": "2026-01-01T00:00:00Z"})) == "2026-01-01T00:00:00Z"
