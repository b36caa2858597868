"""The rendered crontab."""

import shlex
import sys
from pathlib import Path

import pytest
from support import BUNDLE

from imageporter.config.settings import Settings
from imageporter.schedule import crontab


def lines(settings: Settings) -> list[str]:
    return [line for line in crontab.render(settings).decode().splitlines() if not line.startswith("#")]


def test_a_pass_and_a_queue_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    python, bundle = shlex.quote(sys.executable), shlex.quote(str(BUNDLE))
    assert lines(Settings()) == [
        f"0 0 * * * exec {python} {bundle}/sync.py --scheduled",
        f"*/10 * * * * test ! -e {tmp_path}/data/queue.db || exec {python} {bundle}/sync.py --scheduled --queue",
    ]


def test_without_hook_cron_and_with_a_heartbeat() -> None:
    settings = Settings(cron="1 2 3 4 5", hook_cron="", alive_file=Path("/tmp/it's alive"))
    assert [line.partition(" exec ")[0] for line in lines(settings)] == [
        "1 2 3 4 5",
        "* * * * * touch -- '/tmp/it'\"'\"'s alive'",
    ]
