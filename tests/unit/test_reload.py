"""RouteReloader: changed files are reloaded, and a mistake keeps the previous routes."""

import json
from pathlib import Path

import pytest

from imageporter.config.configuration import FOR_HOOK, load_configuration
from imageporter.config.settings import Settings
from imageporter.hook.reload import RouteReloader
from imageporter.model.reference import parse
from imageporter.system import logs
from imageporter.system.errors import Problems


def test_changed_files_are_reloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    logs.configure()
    images = tmp_path / "images.json"
    images.write_text(json.dumps({"a.io/one": "b.io/one"}))
    settings = Settings()
    reloader = RouteReloader(settings, load_configuration(settings, Problems(), FOR_HOOK))
    first = reloader.current()
    assert reloader.current() is first  # nothing has changed

    images.write_text(json.dumps({"a.io/other": "b.io/other"}))
    second = reloader.current()
    assert not second.images(parse("a.io/one:1"))
    assert second.images(parse("a.io/other:1"))
    assert "INFO    the files have changed; the hook has reloaded them" in capsys.readouterr().out

    images.write_text("{")
    assert reloader.current() is second
    assert reloader.current() is second
    output = capsys.readouterr().out
    assert output.count("ERROR   the files have changed and have mistakes; the hook keeps the previous rules") == 1
    assert "ERROR   images.json: line 1, column 2: " in output

    images.unlink()
    (tmp_path / "images.yaml").write_text("a.io/third: b.io/third\n")
    assert reloader.current().images(parse("a.io/third:1"))
