"""The command line of sync.py."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import BUNDLE

from imageporter.config import command_line
from imageporter.config.settings import VARIABLES
from imageporter.system.errors import Problems


def test_flags_become_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBS", "3")
    problems = Problems()
    flags = ["-c", "c.json", "--accounts", "a.json", "--images", "i.json", "--dry-run", "--jobs", "2", "--queue"]
    settings = command_line.load_settings(flags, problems)
    assert list(problems) == []
    assert settings.config_file == Path("c.json")
    assert (settings.accounts_file, settings.images_file) == (Path("a.json"), Path("i.json"))
    assert (settings.dry_run, settings.jobs, settings.queue_only) == (True, 2, True)


def test_a_flag_with_an_invalid_value_is_a_problem() -> None:
    problems = Problems()
    command_line.load_settings(["--jobs", "none"], problems)
    assert list(problems) == ["--jobs: 'none' is not a whole number from 1 to 256"]


@pytest.mark.parametrize("flags", [["--unknown"], ["file"], ["--job", "1"], ["--jobs"]])
def test_unknown_flags_end_the_program(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.load_settings(flags, Problems())
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: sync.py ")


def test_the_help_names_every_flag_and_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.print_help(["--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    for name in (*VARIABLES, "--config", "--accounts", "--images", "--dry-run", "--jobs", "--queue"):
        assert name in output


def test_without_help_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    command_line.print_help(["--jobs", "1"])
    command_line.print_settings_help(["hook"], "text")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("script", ["sync.py", "entrypoint.py", "hook.py"])
def test_the_help_imports_no_library(script: str) -> None:
    """So it is fast and small, and works before `make`."""
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(BUNDLE / script), "--help"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
