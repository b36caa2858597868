"""The tables of the documents are those that the code has, and the figures of the READMEs are those that were measured."""

import json
import re
from pathlib import Path

import pytest
import reference
from reference_texts import GROUPS
from support import BUNDLE

from imageporter.config.settings import VARIABLES

READMES = ["README.md", "README.zh-CN.md"]
LANGUAGES = [(0, BUNDLE / "docs"), (1, BUNDLE / "docs" / "zh")]


@pytest.mark.parametrize(("language", "folder"), LANGUAGES, ids=["English", "Chinese"])
@pytest.mark.parametrize("name", reference.PAGES)
def test_the_tables_are_up_to_date(language: int, folder: Path, name: str) -> None:
    page = (folder / name).read_text()
    assert reference.rendered(page, language, folder / name) == page, "run `make docs`"


@pytest.mark.parametrize(("language", "folder"), LANGUAGES, ids=["English", "Chinese"])
def test_every_table_has_its_place(language: int, folder: Path) -> None:
    pages = "".join((folder / name).read_text() for name in reference.PAGES)
    assert [name for name, _ in reference.all_tables(language) if f"<!-- {name} -->" not in pages] == []


def test_every_variable_belongs_to_one_group() -> None:
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(VARIABLES)


def test_a_page_whose_block_does_not_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="must begin exactly one block"):
        reference.rendered("<!-- when -->\n<!-- /when -->\n<!-- when -->\n", 0, Path("settings.md"))


@pytest.mark.parametrize("folder", [folder for _, folder in LANGUAGES], ids=["English", "Chinese"])
def test_every_event_is_in_the_table(folder: Path) -> None:
    shown = set(re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", (folder / "logs.md").read_text(), re.MULTILINE))
    call = re.compile(r"log_event\(\s*\"([a-z]+\.[a-z]+)\"")
    sources = [*BUNDLE.glob("*.py"), *(BUNDLE / "imageporter").rglob("*.py")]
    assert shown == {name for path in sources for name in call.findall(path.read_text())}


@pytest.mark.parametrize("name", READMES)
def test_the_figures_of_the_campaign(name: str) -> None:
    readme = (BUNDLE / name).read_text()
    results = json.loads((BUNDLE / "fire" / "results.json").read_text())
    faults = len(results["network"]["table"]["rows"])
    kills = sum(int(row[1]) for row in results["kills"]["table"]["rows"] if "SIG" in row[0])
    inputs = results["fuzz"]["table"]["rows"][-1][1]
    for figure in (faults, kills, inputs):
        assert re.search(rf"(?<![\d,]){figure}(?![\d,])", readme), figure


@pytest.mark.parametrize(("name", "page"), [*zip(READMES, ("docs/comparison.md", "docs/zh/comparison.md"), strict=True)])
def test_the_comparison_of_a_readme_is_part_of_the_whole(name: str, page: str) -> None:
    rows = re.findall(r"^\| (?!\|).*\|$", (BUNDLE / name).read_text(), re.MULTILINE)
    whole = re.sub(r"^\| \d+\. ", "| ", (BUNDLE / page).read_text(), flags=re.MULTILINE).splitlines()
    assert len(rows) > 10
    assert [row for row in rows if row not in whole] == []


@pytest.mark.parametrize("name", [*READMES, "docs/speed.md", "docs/zh/speed.md"])
def test_the_seconds_are_those_of_the_bench(name: str) -> None:
    text = re.sub(r"^\|.*\n", "", (BUNDLE / name).read_text(), flags=re.MULTILINE)
    seconds = set(re.findall(r"(\d+\.\d) ?(?:s\b|seconds| 秒|秒)", text))
    assert seconds
    tables = (BUNDLE / "docs" / "speed.md").read_text()
    assert {one for one in seconds if f"| {one} s (" not in tables} == set()
