"""The crontab line of the quick start, run by Debian's own cron."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support import BUNDLE, Registry, User, log_of, start, wait_for

# cron knows one place for crontabs, and one for its process ID: both are this test's, in a mount namespace of its own.
CRON = """
mount --bind "$1" /var/spool/cron/crontabs
mount --bind "$2" /etc/cron.d
mount --bind "$3" /run
exec cron -f
"""


def test_cron_runs_the_line(user: User, source: Registry, target: Registry, tmp_path: Path) -> None:
    if os.getuid() or shutil.which("cron") is None or shutil.which("unshare") is None:
        pytest.skip("there is no cron that this user may start")
    digest = source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    lines = re.findall(r"^0 3 \* \* \* (.*)$", (BUNDLE / "docs" / "quick-start.md").read_text(), re.MULTILINE)
    (command,) = lines
    command = user.here(command)
    folders = [tmp_path / name for name in ("crontabs", "cron.d", "run")]
    for folder in folders:
        folder.mkdir()
    crontab = folders[0] / "root"
    crontab.write_text(f"SLEEP_TIME=0\n* * * * * {command}\n")
    crontab.chmod(0o600)
    log = tmp_path / "cron.log"
    with start(["unshare", "--mount", "sh", "-euc", CRON, "sh", *map(str, folders)], log, cwd="/"):
        wait_for(lambda: "1 copied" in log_of(user.folder / "sync.log"), f"cron: {log_of(log)}", 130)
    assert target.digest("app:1") == digest
    assert subprocess.run(["pgrep", "-f", str(folders[0])], check=False, capture_output=True).stdout == b""
