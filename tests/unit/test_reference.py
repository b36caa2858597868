"""The tables of the documents are those that the code has, and the figures of the READMEs are those that were measured."""

import json
import re
from pathlib import Path

import pytest
import reference
import reference_texts
from support import BUNDLE

from imageporter.config import command_line
from imageporter.config.json_schema import schemas
from imageporter.config.settings import VARIABLES
from imageporter.hook.webhooks import SENDERS
from imageporter.store.report import FILES, report_path

READMES = ["README.md", "README.zh-CN.md"]
LANGUAGES = [(0, BUNDLE / "docs"), (1, BUNDLE / "docs" / "zh")]


@pytest.mark.parametrize(("language", "folder"), LANGUAGES, ids=["English", "Chinese"])
@pytest.mark.parametrize("name", reference.PAGES)
def test_the_tables_are_up_to_date(language: int, folder: Path, name: str) -> None:
    page = (folder / name).read_text()
    assert reference.rendered(page, dict(reference.all_tables(language)), folder / name) == page, "run `make docs`"


@pytest.mark.parametrize(("language", "folder"), LANGUAGES, ids=["English", "Chinese"])
def test_every_table_has_its_place(language: int, folder: Path) -> None:
    pages = "".join((folder / name).read_text() for name in reference.PAGES)
    assert [name for name, _ in reference.all_tables(language) if f"<!-- {name} -->" not in pages] == []


def test_every_variable_belongs_to_one_group() -> None:
    assert sorted(name for group in reference_texts.GROUPS.values() for name in group) == sorted(VARIABLES)


def test_no_text_is_left_of_what_is_gone() -> None:
    named = {
        *reference_texts.INSTEAD,
        *reference_texts.NOTES,
        *reference_texts.DEFAULTS,
        *reference_texts.VARIABLES_IN_CHINESE,
    }
    assert named <= set(VARIABLES)
    assert set(reference_texts.FLAGS) == {flag for flag, _ in command_line.flags()}
    texts = set(re.findall(r'"description": "((?:[^"\\]|\\.)*)"', json.dumps(schemas(), ensure_ascii=False)))
    assert set(reference_texts.CHINESE) <= {json.loads(f'"{text}"') for text in texts}


def test_a_missing_chinese_text_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delitem(reference_texts.VARIABLES_IN_CHINESE, "JOBS")
    assert reference.main() == 1
    message = "docs/reference.py: docs/reference_texts.py: VARIABLES_IN_CHINESE has no 'JOBS'; add it, in Chinese\n"
    assert capsys.readouterr().err == message


def test_a_page_whose_block_does_not_end_is_an_error() -> None:
    with pytest.raises(ValueError, match="must begin exactly one block"):
        reference.rendered("<!-- when -->\n<!-- /when -->\n<!-- when -->\n", {"when": "|"}, Path("settings.md"))


@pytest.mark.parametrize("folder", [folder for _, folder in LANGUAGES], ids=["English", "Chinese"])
def test_every_event_is_in_the_table(folder: Path) -> None:
    shown = set(re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", (folder / "logs.md").read_text(), re.MULTILINE))
    call = re.compile(r"log_event\(\s*\"([a-z]+\.[a-z]+)\"")
    sources = [*BUNDLE.glob("*.py"), *(BUNDLE / "imageporter").rglob("*.py")]
    assert shown == {name for path in sources for name in call.findall(path.read_text())}


@pytest.mark.parametrize("folder", [folder for _, folder in LANGUAGES], ids=["English", "Chinese"])
def test_the_tables_that_are_written_by_hand(folder: Path) -> None:
    """Exit codes, senders of webhooks, and the files of reports."""
    pages = {name: (folder / f"{name}.md").read_text() for name in ("exit-codes", "webhooks", "logs")}
    first, *_ = re.findall(r"(?:^\|.*\n)+", pages["exit-codes"], re.MULTILINE)
    codes = re.findall(r"\d+", "".join(row.split("|")[1] for row in first.splitlines()))
    assert codes == re.findall(r"\d+", command_line.EXIT_CODES)
    assert re.findall(r"^\| `/hooks/(\w+)", pages["webhooks"], re.MULTILINE) == list(SENDERS)
    shown = set(re.findall(r"report[\w-]*\.json", pages["logs"]))
    assert shown == {*FILES.values(), report_path(folder, "pass", dry_run=True).name}


@pytest.mark.parametrize(("name", "words"), [*zip(READMES, ("{} kills", "{} 次"), strict=True)])
def test_the_figures_of_the_campaign(name: str, words: str) -> None:
    readme = (BUNDLE / name).read_text()
    results = json.loads((BUNDLE / "fire" / "results.json").read_text())
    faults = len(results["network"]["table"]["rows"])
    kills = sum(int(row[1]) for row in results["kills"]["table"]["rows"] if "SIG" in row[0])
    inputs = results["fuzz"]["table"]["rows"][-1][1]
    assert words.format(kills) in readme
    for figure in (faults, inputs):
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
