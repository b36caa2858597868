"""The reliability campaign: faults, kills, hostile input and load, against real registries.

`make fire` runs all of it (about an hour) and writes docs/reliability.md and docs/zh/reliability.md. `make fire FIRE=--short`
takes at most five minutes and writes nothing. The exit code is 1 if a promise is broken.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

BUNDLE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(BUNDLE), str(BUNDLE / "tests"), str(BUNDLE / "bench")]

from campaign import Campaign, Table  # noqa: E402
from reliability_pages import PARTS, RESULTS, write_pages  # noqa: E402


def main() -> int:
    """Run the parts; return 1 if one of them broke a promise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--seed", type=int, default=1, help="what is random depends on it only; default: 1")
    parser.add_argument("--short", action="store_true", help="a sample of everything; no file is written")
    parser.add_argument("--page", action="store_true", help="only write the pages from the results of the last campaign")
    given = parser.parse_args()
    if given.page:
        write_pages()
        return 0
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}")

    tables = {}
    for part in given.parts:
        print(f"{part}:", flush=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"fire-{part}-") as folder:
            table: Table = importlib.import_module(part).run(Campaign(given.seed, given.short, Path(folder)))
        seconds = time.monotonic() - began
        print(f"  {part}: {len(table.rows)} rows, {len(table.findings)} broken promises, {seconds:.0f} s", flush=True)
        tables[part] = table
        if not given.short:
            save(part, table, seconds, given.seed)
    return 1 if any(table.findings for table in tables.values()) else 0


def save(part: str, table: Table, seconds: float, seed: int) -> None:
    """Keep the table of `part`, and write the pages from all tables kept."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[part] = {
        "day": datetime.now(UTC).date().isoformat(),
        "seconds": round(seconds),
        "seed": seed,
        "cores": os.cpu_count(),
        "table": table.to_json(),
    }
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    write_pages()


if __name__ == "__main__":
    sys.exit(main())
