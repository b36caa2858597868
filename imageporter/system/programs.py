"""The programs that the scripts need: where they are, and whether they work."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from imageporter.system.errors import Problems
from imageporter.system.processes import bounded_process
from imageporter.system.signals import Shutdown

BUNDLE = Path(__file__).resolve().parents[2]
CHECK_SECONDS = 60
MADE = frozenset({"crane", "supercronic"})  # by `make tools`


def find_program(name: str, preferred: str | None, problems: Problems) -> str:
    """Return the path of the program `name`: `preferred` (a path, or a name on PATH), else the one `make` built, else on PATH.

    If there is none, add a problem and return the empty string.
    """
    built = BUNDLE / ".tools" / name
    wanted = preferred if preferred is not None else str(built) if built.exists() else name
    path = shutil.which(wanted)
    if path is None:
        shown = repr(wanted) if wanted.startswith(("/", "./", "../", name)) else f"a text of {len(wanted)} characters"
        text = f"{shown} is not a program that can be run"
        remedy = "run `make tools`" if name in MADE else "install it"
        problems.add(name.upper(), f"{text}; {remedy}, or set {name.upper()} to the path of {name}")
    return path or ""


def check_crane(crane: str, environ: Mapping[str, str], problems: Problems, shutdown: Shutdown) -> None:
    """Run `crane version`, and add a problem if the program at `crane` fails. Raises InterruptedPassError."""
    try:
        with bounded_process((crane, "version"), CHECK_SECONDS, shutdown, environ) as process:
            process.communicate()
        reason = f"`version` exits with {process.returncode}" if process.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or f"no end after {CHECK_SECONDS} seconds"
    if reason:
        text = f"{crane!r} does not work as crane: {reason}"
        problems.add("CRANE", f"{text}; set it to the path of crane for this machine")
