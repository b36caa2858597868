"""The programs that a pass needs: where they are, and whether they work."""

import shutil
import subprocess

from imageporter.system.processes import asked
from imageporter.config.settings import BUNDLE
from imageporter.system.signals import Stop

PROVING_SECONDS = 60
HELPERS = {"xargs": "findutils", "timeout": "coreutils"}  # and the package that has them


def find(tool: str, preferred: str | None, mistakes: list[str]) -> str:
    """The path of `tool`: `preferred` (a path, or a name on PATH), else the one make built, else the one on PATH.

    One that is not there is added to `mistakes`, and gives the empty string.
    """
    built = BUNDLE / ".tools" / tool
    wanted = preferred if preferred is not None else str(built) if built.exists() else tool
    path = shutil.which(wanted)
    if path is None:
        what = f"{wanted!r} is not a program that can be run"
        mistakes.append(f"{tool.upper()}: {what}; run `make tools`, or set {tool.upper()} to the path of {tool}")
    return path or ""


def prove(crane: str, mistakes: list[str], stop: Stop) -> None:
    """Run `crane version`; a `crane` that cannot be run, or does not know it, is added to `mistakes`.

    So is what runs it and is missing. Raises InterruptedPassError.
    """
    missing = {helper: package for helper, package in HELPERS.items() if shutil.which(helper) is None}
    mistakes.extend(f"PATH: {helper} is not on it; install {package}" for helper, package in missing.items())
    try:
        with asked((crane, "version"), PROVING_SECONDS, stop) as process:
            process.communicate()
        reason = f"`version` ends with {process.returncode}" if process.returncode else None
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = getattr(error, "strerror", None) or f"no end after {PROVING_SECONDS} seconds"
    if reason:
        mistakes.append(f"CRANE: {crane!r} does not work as crane: {reason}; set it to the path of crane for this machine")
