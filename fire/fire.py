"""The reliability campaign: faults, kills, hostile input and load, against real registries.

`make fire` runs all of it (about an hour) and writes docs/reliability.md. `make fire FIRE=--short` takes at most five
minutes and writes nothing. The exit code is 1 if a promise is broken.
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

RESULTS = BUNDLE / "fire" / "results.json"
PAGE = BUNDLE / "docs" / "reliability.md"
PARTS = ("network", "passwords", "kills", "fuzz", "load")
INTRODUCTION = """\
# Reliability

`make fire` breaks everything around ImagePorter and checks its promises: nothing wrong is ever tagged, a failure is
reported with its reason and the exit code 1, and the next pass after the fault makes every target equal to its source.
It wrote this page. All registries are real (distribution), as are crane and supercronic.
"""


def main() -> int:
    """Run the parts; return 1 if one of them broke a promise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--seed", type=int, default=1, help="what is random depends on it only; default: 1")
    parser.add_argument("--short", action="store_true", help="a sample of everything; no file is written")
    given = parser.parse_args()
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
    """Keep the table of `part`, and write the page from all tables kept."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[part] = {
        "day": datetime.now(UTC).date().isoformat(),
        "seconds": round(seconds),
        "seed": seed,
        "cores": os.cpu_count(),
        "table": table.to_json(),
    }
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    sections = []
    for row in (kept[name] for name in PARTS if name in kept):
        measured = f"{row['day']}, seed {row['seed']}, {row['cores']} cores, {row['seconds'] / 60:.0f} minutes."
        sections.append(f"{Table(**row['table']).markdown()}\n\n<sub>Measured on {measured}</sub>\n")
    PAGE.write_text("\n".join([INTRODUCTION, *sections]))


if __name__ == "__main__":
    sys.exit(main())
