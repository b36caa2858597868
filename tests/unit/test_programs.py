"""The programs that a pass needs."""

import os
from pathlib import Path

import pytest

from imageporter.system import programs
from imageporter.system.errors import Problems
from imageporter.system.signals import Shutdown


def test_find_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    tool = tmp_path / "crane"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    problems = Problems()
    assert programs.find_program("crane", None, problems).endswith("/.tools/crane")
    assert programs.find_program("crane", "crane", problems) == str(tool)
    assert programs.find_program("crane", str(tool), problems) == str(tool)
    assert list(problems) == []
    assert programs.find_program("crane", str(tmp_path), problems) == ""
    assert list(problems) == [
        f"CRANE: {str(tmp_path)!r} is not a program that can be run; run `make tools`, or set CRANE to the path of crane"
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("#!/bin/sh\nexit 3\n", "`version` exits with 3"),
        ("#!/nowhere\n", "No such file or directory"),
        ("\x7fELF", "Exec format error"),
        ("#!/bin/sh\nsleep 60\n", "no end after 0.2 seconds"),
    ],
)
def test_a_crane_that_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, reason: str) -> None:
    monkeypatch.setattr(programs, "CHECK_SECONDS", 0.2)
    tool = tmp_path / "crane"
    tool.write_text(content)
    tool.chmod(0o755)
    problems = Problems()
    programs.check_crane(str(tool), os.environ, problems, Shutdown())
    message = f"{str(tool)!r} does not work as crane: {reason}; set it to the path of crane for this machine"
    assert list(problems) == [f"CRANE: {message}"]


def test_a_crane_that_works() -> None:
    problems = Problems()
    programs.check_crane("/bin/true", os.environ, problems, Shutdown())
    assert list(problems) == []
