"""The programs that a pass needs."""

from pathlib import Path

import pytest

from imageporter.system import programs
from imageporter.system.signals import Stop


def test_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    tool = tmp_path / "crane"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    mistakes: list[str] = []
    assert tools.find("crane", None, mistakes).endswith("/.tools/crane")
    assert tools.find("crane", "crane", mistakes) == str(tool)
    assert tools.find("crane", str(tool), mistakes) == str(tool)
    assert mistakes == []
    tools.find("crane", str(tmp_path), mistakes)
    assert mistakes == [
        f"CRANE: {str(tmp_path)!r} is not a program that can be run; run `make tools`, or set CRANE to the path of crane"
    ]


def test_what_runs_crane_is_missing_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    mistakes: list[str] = []
    tools.prove("/bin/true", mistakes, Stop())
    assert mistakes == [
        "PATH: xargs is not on it; install findutils",
        "PATH: timeout is not on it; install coreutils",
    ]
