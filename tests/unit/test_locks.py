import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from support import BUNDLE

from imageporter.store import locks
from imageporter.system.errors import AlreadyRunningError
from imageporter.system.signals import Stop


def test_no_directory_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under `docker run --read-only` without a tmpfs; for root there is always one, so Python is told."""

    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    mistakes: list[str] = []
    lock.prepare(tmp_path, mistakes)
    assert mistakes == ["TMPDIR: there is no directory for temporary files; set it to one, or mount a tmpfs at /tmp"]


def test_a_full_pass_waits_out_one_run_over_the_queue_after_the_other(tmp_path: Path) -> None:
    """Whatever stands in the lock file while it changes hands."""
    script = """
import sys, time
from pathlib import Path
from imageporter.store import locks
from imageporter.system.signals import Stop
with Stop() as stop, lock.hold(Path(sys.argv[1]), stop, queue=True):
    print("held", flush=True)
    time.sleep(1.2)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, cwd=BUNDLE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with Stop() as stop, lock.hold(tmp_path, stop, queue=False):
            assert first.wait(10) == 0
    with (
        Stop() as stop,
        lock.hold(tmp_path, stop, queue=False),
        pytest.raises(AlreadyRunningError),
        lock.hold(tmp_path, stop, queue=False),
    ):
        pass
