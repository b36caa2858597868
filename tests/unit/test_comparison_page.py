"""The comparison: all cells are filled and have sources, both languages say the same, and its figures are the bench's."""

import re
from dataclasses import dataclass
from functools import cache

import pytest
from support import BUNDLE
from tables import to_chinese
from translation import Translate

RESULTS = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in (BUNDLE / "bench" / "RESULTS.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| \([a-g]\) [^|]*\| (?:30 ms|loopback) \|", line)
]
# The columns of a table of features: ImagePorter, then the others. The sources have a section for each of them.
TOOLS = ["ImagePorter", "regsync", "skopeo sync", "Harbor", "image-syncer", "dregsy", "ocync"]
WORK = re.compile(r"(?:\(|\N{FULLWIDTH LEFT PARENTHESIS})([a-g])(?:\)|\N{FULLWIDTH RIGHT PARENTHESIS})$")
NOT_SHOWN = "\N{EN DASH}"
SECONDS = re.compile(r"(\d[\d,.]*) ?(?:s\b|秒)")
MEMORY = re.compile(r"(\d[\d,.]*) MiB")
CHECKED = "2026-11-27"
LANGUAGES: dict[str, Translate] = {"docs": str, "docs/zh": to_chinese}


@dataclass(frozen=True)
class Page:
    """One language of the page."""

    text: str
    translate: Translate

    @property
    def tables(self) -> list[list[list[str]]]:
        """The cells of each table, without the line below the header."""
        found = re.findall(r"(?:^\|.*\n)+", self.text, re.MULTILINE)
        tables = [[[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()] for table in found]
        return [[row for row in table if set("".join(row)) - {"-"}] for table in tables]

    @property
    def features(self) -> dict[int, list[str]]:
        """The cells of each feature, by its number."""
        rows = [row for table in self.tables if table[0][1:] == TOOLS for row in table[1:]]
        numbers = [int(row[0].partition(".")[0]) for row in rows]
        assert numbers == [*range(1, len(rows) + 1)]
        return dict(zip(numbers, rows, strict=True))

    @property
    def speeds(self) -> list[tuple[str, str, str]]:
        """Work, tool with its settings, and seconds of each cell of the tables of figures."""
        return [
            (work[1], row[0], cell)
            for table in self.tables
            if table[0][1:] != TOOLS
            for row in table[1:]
            for heading, cell in zip(table[0][1:], row[1:], strict=True)
            if (work := WORK.search(heading)) is not None
        ]

    @property
    def sources(self) -> dict[str, list[str]]:
        """The list below each `###`."""
        parts = re.split(r"^### (.*)\n", self.text, flags=re.MULTILINE)[1:]
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return {name: [line for line in part.splitlines() if line.startswith("- ")] for name, part in pairs}

    def sourced(self, tool: str) -> set[int]:
        """The features for which the list of `tool` has a source."""
        lists = re.findall(r"(?::|\N{FULLWIDTH COLON})\s*((?:\d+(?:, |、|\b))+)", "\n".join(self.sources[tool]))
        return {int(number) for one in lists for number in re.findall(r"\d+", one)}

    @property
    def notes(self) -> set[int]:
        """The features that have a note."""
        return {
            int(number)
            for note in re.findall(r"^- \*\*([\d, 、]+)", self.text, re.MULTILINE)
            for number in re.findall(r"\d+", note)
        }


@cache
def page(folder: str) -> Page:
    """Return the page in `docs` or `docs/zh`."""
    return Page((BUNDLE / folder / "comparison.md").read_text(encoding="utf-8"), LANGUAGES[folder])


@pytest.fixture(params=LANGUAGES)
def comparison(request: pytest.FixtureRequest) -> Page:
    """Each language."""
    return page(str(request.param))


def test_both_languages_have_the_same_tables() -> None:
    english, chinese = ([[len(row) for row in table] for table in page(folder).tables] for folder in LANGUAGES)
    assert english == chinese


def test_both_languages_have_the_same_figures_notes_and_sources() -> None:
    english, chinese = page("docs"), page("docs/zh")
    translated = [
        (work, to_chinese(tool), cell if cell == NOT_SHOWN else to_chinese(cell)) for work, tool, cell in english.speeds
    ]
    assert chinese.speeds == translated
    assert english.notes == chinese.notes
    assert {name: english.sourced(name) for name in english.sources} == {
        name: chinese.sourced(name) for name in chinese.sources
    }
    links = [re.findall(r"\]\((https[^)]+)\)", one.text) for one in (english, chinese)]
    assert links[0] == links[1]


def test_every_cell_is_filled(comparison: Page) -> None:
    assert len(comparison.features) > 40
    for table in comparison.tables:
        assert {len(row) for row in table} == {len(table[0])}
        assert [row for row in table[1:] if not all(row)] == []
        assert all(table[0][1:])


@pytest.mark.parametrize("tool", TOOLS)
def test_every_cell_has_a_source(comparison: Page, tool: str) -> None:
    assert comparison.sourced(tool) == set(comparison.features)


def test_every_source_can_be_found(comparison: Page) -> None:
    """A line of the sources links to something, or says that the tool was run."""
    for tool in TOOLS:
        assert comparison.sources[tool]
        for line in comparison.sources[tool]:
            assert "](" in line or line.startswith(
                ("- measured: ", "- 实测：", "- what it does through skopeo", "- 通过 skopeo")
            )


def test_notes_belong_to_features(comparison: Page) -> None:
    assert comparison.notes
    assert comparison.notes <= set(comparison.features)


def test_the_tables_of_figures_are_the_benchs(comparison: Page) -> None:
    measured = {(work[1], tool): seconds for work, network, tool, seconds, *_ in RESULTS if network == "30 ms"}
    assert len(comparison.speeds) > 30
    translate = comparison.translate
    cells = {(work, translate(tool)): translate(f"{seconds} s") for (work, tool), seconds in measured.items() if work != "f"}
    for work, tool, cell in comparison.speeds:
        assert cell in {cells.get((work, tool)), NOT_SHOWN}, (work, tool)
    assert sum(cell != NOT_SHOWN for *_, cell in comparison.speeds) > 25


def test_the_figures_in_the_text_are_the_benchs(comparison: Page) -> None:
    seconds, memory = {row[3] for row in RESULTS}, {row[8] for row in RESULTS}
    behind = next(part for part in comparison.text.split("\n## ") if "SLEEP_TIME" in part)
    assert len(SECONDS.findall(behind)) > 5
    assert set(SECONDS.findall(behind)) <= seconds
    assert len(MEMORY.findall(behind)) == 3
    assert set(MEMORY.findall(behind)) <= memory


def test_the_page_ends_with_the_day(comparison: Page) -> None:
    assert CHECKED in comparison.text.strip().splitlines()[-1]
