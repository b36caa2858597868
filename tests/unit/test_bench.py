"""The figures in the documents are those of the last full run of the bench."""

import json
from typing import Any

import pytest
from support import BUNDLE

import bench

RESULTS: dict[str, Any] = json.loads((BUNDLE / "bench" / "results.json").read_text())


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readmes_show_the_results(name: str) -> None:
    readme = (BUNDLE / name).read_text(encoding="utf-8")
    for network in ("slow", "bare"):
        assert f"\n{bench.summary(RESULTS, network)}\n" in readme
    assert RESULTS["date"] in readme
    assert RESULTS["machine"] in readme


def test_the_whole_table() -> None:
    whole = (BUNDLE / "bench" / "RESULTS.md").read_text(encoding="utf-8")
    assert whole == f"{bench.PREFACE.format(**RESULTS)}\n{bench.table(RESULTS)}\n"


def test_every_work_was_measured_over_both_networks() -> None:
    assert {(row["work"], row["network"]) for row in RESULTS["rows"]} == {
        *((work, network) for work in "abcde" for network in ("bare", "slow")),
        ("f", "none"),
    }
