"""The pages with measured figures are what their generators write, and the Chinese pages have what the English ones have."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import chinese
import passwords
import pytest
import reliability_pages
import scale_page
import tables
from campaign import Campaign, Table
from scenarios import scenarios
from support import BUNDLE
from translation import Translate, UntranslatedError, translator

FIRE: dict[str, Any] = json.loads(reliability_pages.RESULTS.read_text())
SCALE: dict[str, Any] = json.loads(scale_page.RESULTS.read_text())
CODE = re.compile("`[^`\n]+`")
VULNERABILITY = re.compile(r"\b(?:CVE|GHSA|GO|PYSEC)-[\w-]+", re.ASCII)


def english_and_chinese(name: str) -> tuple[str, str]:
    english, chinese_page = ((BUNDLE / "docs" / folder / name).read_text(encoding="utf-8") for folder in ("", "zh"))
    return english, chinese_page


@pytest.mark.parametrize(("path", "translate"), reliability_pages.PAGES.items(), ids=["english", "chinese"])
def test_the_reliability_pages_are_written_from_the_results(path: Path, translate: Translate) -> None:
    assert path.read_text(encoding="utf-8") == reliability_pages.page(FIRE, translate)


@pytest.mark.parametrize(("path", "translate"), scale_page.PAGES.items(), ids=["english", "chinese"])
def test_the_scale_pages_are_written_from_the_results(path: Path, translate: Translate) -> None:
    page = path.read_text(encoding="utf-8")
    assert scale_page.with_figures(page, SCALE, translate) == page


@pytest.mark.parametrize(("path", "translate"), scale_page.PAGES.items(), ids=["english", "chinese"])
def test_new_figures_replace_the_old_ones(path: Path, translate: Translate) -> None:
    page = path.read_text(encoding="utf-8")
    newer = SCALE | {"day": "2031-01-31", "figures": [one | {"wall": one["wall"] / 4} for one in SCALE["figures"]]}
    replaced = scale_page.with_figures(page, newer, translate)
    assert "2031-01-31" in replaced
    slow = next(one for one in SCALE["figures"] if one["delay"])
    assert f"| {4 * slow['images'] / slow['wall']:,.0f} |" in replaced  # images per second
    assert scale_page.with_figures(replaced, SCALE, translate) == page


def test_a_page_without_a_place_for_figures_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 places for cost"):
        scale_page.with_figures("# Scale\n", SCALE, str)


@pytest.mark.parametrize("part", reliability_pages.PARTS)
def test_the_results_are_described_as_the_code_describes_them(part: str) -> None:
    assert FIRE[part]["table"]["text"].startswith(importlib.import_module(part).TEXT)


def test_all_faults_have_a_translation(tmp_path: Path) -> None:
    for scenario in scenarios(Campaign(1, short=False, folder=tmp_path)):
        assert chinese.to_chinese(scenario.name)
        assert chinese.to_chinese(scenario.phase)
    for lure in passwords.LURES:
        assert chinese.to_chinese(f"{lure}: 0 requests elsewhere")


@pytest.mark.parametrize("words", [chinese.CHINESE, scale_page.CHINESE, tables.CHINESE], ids=["fire", "scale", "bench"])
def test_a_translation_has_all_numbers_of_its_text(words: dict[str, str]) -> None:
    for text, translated in words.items():
        numbers = [str(number) for number in range(text.count("{}"))]
        assert [number for number in numbers if number in translated.format(*numbers)] == numbers, text
        assert translated.count("{") == len(numbers), text


def test_what_has_no_translation_is_an_error() -> None:
    translate = translator({"{} images": "{} 个镜像", "none": "无"}, "words.py")
    assert translate("2,000\nimages, none") == "2,000 个镜像，无"
    assert translate("2 images, none; none") == "2 个镜像，无；无"
    with pytest.raises(UntranslatedError, match=re.escape("words.py has no translation of '{} apples'; add it")):
        translate("2 apples")


def test_a_broken_promise_is_shown_as_it_was_found() -> None:
    table = Table(
        "Load",
        "",
        ("what",),
        [
            [
                "crane",
            ]
        ],
        ["crane | panicked", "and again"],
    )
    assert reliability_pages.section(table, str).endswith(
        "| crane |\n\n- **Broken:** crane | panicked\n- **Broken:** and again"
    )
    assert reliability_pages.section(table, chinese.to_chinese).endswith(
        "- **违反保证：** crane | panicked\n- **违反保证：** and again"
    )


@pytest.mark.parametrize("name", ["scale.md", "security.md"])
def test_both_languages_show_the_same_code(name: str) -> None:
    english, chinese_page = english_and_chinese(name)
    assert set(CODE.findall(english)) == set(CODE.findall(chinese_page))


def test_both_languages_list_the_same_vulnerabilities() -> None:
    decided = [
        {found for line in page.splitlines() if line.startswith("|") for found in VULNERABILITY.findall(line)}
        for page in english_and_chinese("security.md")
    ]
    assert decided[0] == decided[1]
    assert decided[0]
