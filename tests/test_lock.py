import tempfile
from pathlib import Path

import pytest

from imageporter import lock


def test_no_directory_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under `docker run --read-only` without a tmpfs; for root there is always one, so Python is told."""

    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    mistakes: list[str] = []
    lock.prepare(tmp_path, mistakes)
    assert mistakes == ["TMPDIR: there is no directory for temporary files; set it to one, or mount a tmpfs at /tmp"]
