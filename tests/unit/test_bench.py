"""The figures in the documents are those of the last full run of the bench, and it measures what it says."""

import json
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

import measure
import peers
import pytest
import tables
from support import BUNDLE
from translation import Translate, UntranslatedError

from bench import PAGES

RESULTS: dict[str, Any] = json.loads((BUNDLE / "bench" / "results.json").read_text())
PLACES = [(work, network) for work in "abcdeg" for network in ("bare", "slow")]
ENV = {"PATH": os.environ["PATH"]}


@pytest.mark.parametrize(("name", "translate"), PAGES.items())
def test_the_pages_show_the_results(name: str, translate: Translate) -> None:
    page = (BUNDLE / name).read_text(encoding="utf-8")
    assert tables.with_results(page, RESULTS, translate) == page


def test_the_whole_table() -> None:
    assert (BUNDLE / "bench" / "RESULTS.md").read_text(encoding="utf-8") == tables.document(RESULTS)


def test_every_work_was_measured_over_both_networks() -> None:
    assert {(row["work"], row["network"]) for row in RESULTS["rows"]} == {*PLACES, ("f", "none")}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("docs/speed.md", "2031-01-31 (64 cores, Fast CPU, Linux 9.0, Python 3.20.1)"),
        ("docs/zh/speed.md", "2031-01-31，64 核，Fast CPU，Linux 9.0，Python 3.20.1"),
    ],
)
def test_new_results_replace_the_old_ones_in_a_page(name: str, line: str) -> None:
    translate = PAGES[name]
    page = (BUNDLE / name).read_text(encoding="utf-8")
    rows = [row | {"wall": 2 * row["wall"]} for row in RESULTS["rows"]]
    newer = RESULTS | {"rows": rows, "date": "2031-01-31", "machine": "64 cores, Fast CPU, Linux 9.0, Python 3.20.1"}
    replaced = tables.with_results(page, newer, translate)
    assert tables.summary(newer, "slow", translate) in replaced
    assert tables.summary(newer, "bare", translate) in replaced
    assert line in replaced
    assert tables.with_results(replaced, RESULTS, translate) == page


def test_the_tables_of_the_chinese_page_are_chinese() -> None:
    heads, _, first, *_ = tables.summary(RESULTS, "slow", tables.to_chinese).splitlines()
    assert heads.startswith("| | （a）200 个小镜像，首次同步 | （b）200 个，无变化 |")
    assert re.match(r"\| ImagePorter，SLEEP_TIME=0 \| \d+\.\d 秒（1） \|", first)
    assert tables.to_chinese("skopeo sync, defaults; no setting for more at once") == "skopeo sync，默认设置；不能设置并发"


def test_every_tool_of_the_bench_has_a_chinese_label(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OCYNC", "IMAGE_SYNCER"):
        monkeypatch.setenv(variable, sys.executable)
    labels = {tool.label for work, network in PLACES for tool in peers.tools(work, network)}
    assert all(map(tables.to_chinese, labels))


@pytest.mark.parametrize(
    ("change", "missing"),
    [({"settings": "many at once"}, "many at once"), ({"tool": "newsync"}, "newsync")],
)
def test_what_the_chinese_page_cannot_say_is_an_error(change: dict[str, str], missing: str) -> None:
    page = (BUNDLE / "docs" / "zh" / "speed.md").read_text(encoding="utf-8")
    rows = [*RESULTS["rows"], RESULTS["rows"][0] | change]
    with pytest.raises(UntranslatedError, match=f"bench/tables.py has no translation of '{missing}'; add it"):
        tables.with_results(page, RESULTS | {"rows": rows}, tables.to_chinese)


@pytest.mark.parametrize(("wall", "shown"), [(0.05, "0.1 s (0.05)"), (99.4, "99.4 s (99)"), (1234.0, "1234.0 s (1234)")])
def test_a_ratio_is_a_plain_number(wall: float, shown: str) -> None:
    row = {"work": "a", "network": "slow", "settings": "defaults"}
    rows = [row | {"tool": "ImagePorter", "wall": 1.0}, row | {"tool": "regsync", "wall": wall}]
    assert tables.summary({"rows": rows}, "slow").splitlines()[-1] == f"| regsync, defaults | {shown} |"


def test_a_page_without_the_tables_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        tables.with_results("# ImagePorter\n", RESULTS)


def test_a_missed_goal_is_in_the_document() -> None:
    settings = {"a": "JOBS=32 SLEEP_TIME=0"}
    rows = [
        {"work": work, "network": "slow", "tool": tool, "settings": setting, "wall": wall, "cpu": 1, "own_cpu": 1, "memory": 9}
        for work in "ab"
        for tool, setting, wall in (
            ("ImagePorter", settings.get(work, "SLEEP_TIME=0"), 1.5),
            ("regsync", "parallel 16, reqConcurrent 32", 1.0),
        )
    ]
    text = tables.document(RESULTS | {"rows": rows, "failures": ["(e) bare, tool: exit code 1"]})
    assert "| (a) at 30 ms with JOBS=32, to regsync tuned | 1.6 | 1.50 | met |" in text
    assert "| (b) at 30 ms, to regsync tuned | 1 | 1.50 | **missed** |" in text
    assert text.endswith("Failed:\n\n- (e) bare, tool: exit code 1\n")


@pytest.mark.parametrize(("work", "network"), PLACES)
def test_no_tool_has_two_rows_and_ours_are_first(work: str, network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OCYNC", "IMAGE_SYNCER"):
        monkeypatch.setenv(variable, sys.executable)
    labels = [tool.label for tool in peers.tools(work, network)]
    assert len(set(labels)) == len(labels)
    assert labels[0] == "ImagePorter, SLEEP_TIME=0"
    assert any(label.startswith("ocync, ") for label in labels)


def test_the_rows_of_absent_tools_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OCYNC", "IMAGE_SYNCER"):
        monkeypatch.setenv(variable, "/nonexistent")
    assert peers.missing() == {"image-syncer": "IMAGE_SYNCER", "ocync": "OCYNC"}
    tools = [tool for work, network in PLACES for tool in peers.tools(work, network)]
    assert not [tool for tool in tools if tool.name in peers.missing() or tool.anonymous]


@pytest.mark.parametrize("digits", range(1, 5))
def test_the_rules_by_tag_take_each_tag_once(digits: int) -> None:
    patterns = [re.compile(pattern) for pattern in peers.TAG_PATTERNS]
    for number in range(10 ** (digits - 1) if digits > 1 else 0, 10**digits, 7):
        assert sum(bool(pattern.fullmatch(f"v{number}")) for pattern in patterns) == 1


def test_memory_and_cpu_of_a_short_run(tmp_path: Path) -> None:
    # It sleeps until a sample was surely taken: a busy machine may not run the sampler for a while.
    script = "import time; x = b'x' * (100 << 20); del x; sum(range(10_000_000)); time.sleep(1)"
    result = measure.measured([sys.executable, "-c", script], tmp_path, ENV, limit=60)
    assert result.code == 0
    assert 100 << 20 < result.memory < 150 << 20
    assert 0.02 < result.own_cpu <= result.wall + 0.02
    assert abs(result.cpu - result.own_cpu) < 0.03


def test_child_processes_count(tmp_path: Path) -> None:
    script = "import time; x = b'x' * (60 << 20); sum(range(3_000_000)); time.sleep(0.3)"
    (tmp_path / "one.py").write_text(script)
    command = ["sh", "-c", f"{sys.executable} one.py & {sys.executable} one.py; wait"]
    result = measure.measured(command, tmp_path, ENV, limit=60)
    assert 120 << 20 < result.memory < 180 << 20
    assert result.own_cpu < 0.03 < result.cpu


def test_a_run_is_measured_until_an_event(tmp_path: Path) -> None:
    event = threading.Event()
    threading.Timer(0.5, event.set).start()
    result = measure.measured(["sleep", "60"], tmp_path, ENV, limit=60, until=event)
    assert 0.3 < result.wall < 5
    assert result.code == -15
