"""docs/reliability.md and docs/zh/reliability.md, written from fire/results.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from campaign import Table
from chinese import to_chinese
from translation import Translate

BUNDLE = Path(__file__).resolve().parent.parent
RESULTS = BUNDLE / "fire" / "results.json"
PARTS = ("network", "passwords", "kills", "fuzz", "load")
PAGES: Mapping[Path, Translate] = {
    BUNDLE / "docs" / "reliability.md": str,
    BUNDLE / "docs" / "zh" / "reliability.md": to_chinese,
}
TITLE = "Reliability"
INTRODUCTION = """\
`make fire` breaks everything around ImagePorter and checks three promises. No target ever gets a wrong tag. A failure is
reported with its reason and the exit code 1. The next pass after the fault makes every target equal to its source. `make fire`
writes this page. All registries are real (distribution), and so are crane and supercronic."""


def write_pages() -> None:
    """Write the pages from RESULTS."""
    kept = json.loads(RESULTS.read_text())
    for path, translate in PAGES.items():
        path.write_text(page(kept, translate), encoding="utf-8")


def page(kept: Mapping[str, Any], translate: Translate) -> str:
    """Return the page about the parts that are `kept`."""
    sections = [f"# {translate(TITLE)}\n\n{translate(INTRODUCTION)}\n"]
    for part in (kept[name] for name in PARTS if name in kept):
        minutes = f"{part['seconds'] / 60:.0f} min"
        measured = translate(f"Measured on {part['day']}, seed {part['seed']}, {part['cores']} cores, {minutes}.")
        sections.append(f"{section(Table(**part['table']), translate)}\n\n<sub>{measured}</sub>\n")
    return "\n".join(sections)


def section(table: Table, translate: Translate) -> str:
    """Return the section about one part. What was found is not translated: it may be any sentence."""
    heading = f"## {translate(table.title)}"
    if not heading.isascii():  # of other letters, GitHub and MkDocs make different anchors
        heading = f'<a id="{table.title.lower().replace(",", "").replace(" ", "-")}"></a>\n\n{heading}'
    paragraphs = (translate(" ".join(paragraph.split())) for paragraph in table.text.split("\n\n"))
    rows = [[translate(cell) for cell in row] for row in (table.header, *table.rows)]
    rows.insert(1, ["---"] * len(table.header))
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    broken = [f"- **{translate('Broken:')}** {finding}" for finding in table.findings]
    return "\n\n".join([heading, *paragraphs, "\n".join(lines), *(["\n".join(broken)] if broken else [])])
