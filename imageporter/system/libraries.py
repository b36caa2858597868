"""Whether the libraries are there: a script that is started with another Python than the one that has them cannot log."""

import sys
from importlib.util import find_spec

LIBRARIES = ("loguru", "sh", "pydantic", "ruamel.yaml", "pycurl", "re2")  # of every pass


def require_libraries() -> None:
    """Exit with 2, and say what to do, if this Python does not have the libraries."""
    missing = [name for name in LIBRARIES if not _is_there(name)]
    if missing:
        remedy = "run `make tools`, and start this script with .venv/bin/python"
        sys.stderr.write(f"ERROR {sys.executable} does not have {', '.join(missing)}: {remedy}\n")
        sys.exit(2)


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package that it would be in
        return False
