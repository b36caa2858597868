"""Messages: which runs are worth one, and what they say."""

from typing import Any, cast

import pytest

from imageporter.model.report import Report
from imageporter.monitoring.chinese import CHINESE_HEADLINES
from imageporter.monitoring.messages import compose, headline
from imageporter.monitoring.notifications import occasions
from imageporter.monitoring.page import preferred_language


def report(exit_code: int = 0, **more: Any) -> Report:
    content: dict[str, Any] = {"run": "pass", "started": "2026-11-27T03:00:00+08:00", "finished": "2026-11-27T03:10:00+08:00"}
    content |= {"exit_code": exit_code, "copied": 0, "skipped": 0, "failed": 0, "failing_since": None, "next_pass": None}
    return cast("Report", content | more)


FAILING = report(1, failing_since="2026-11-24T23:30:00+08:00")


@pytest.mark.parametrize(
    ("run", "previous", "expected"),
    [
        (report(), None, {"always"}),
        (report(copied=1), None, {"always", "change"}),
        (report(1), report(), {"always", "failure"}),
        (report(1), FAILING, {"always", "failure"}),
        (report(2), FAILING, {"always", "failure"}),
        (report(75), None, set()),
        (report(75), report(75), {"always", "failure"}),
        (report(), FAILING, {"always", "recovery"}),
        (report(143), FAILING, set()),
        (report(130, copied=3), None, set()),
        (report(1, run="queue"), None, {"always", "failure"}),
        (report(1, run="queue", copied=2), FAILING, {"change"}),
        (report(run="queue"), FAILING, {"always", "recovery"}),
        # a report of an earlier version
        (report(1), {"exit_code": 1}, {"always", "failure"}),
    ],
)
def test_occasions(run: Report, previous: Any, expected: set[str]) -> None:
    assert occasions(run, previous) == expected


@pytest.mark.parametrize(
    ("since", "words"),
    [
        ("2026-11-24T23:30:00+08:00", "2 days and 3 hours"),
        ("2026-11-26T03:10:00+08:00", "1 day"),
        ("2026-11-27T02:08:59+08:00", "1 hour and 1 minute"),
        ("2026-11-26T19:09:30+00:00", "less than a minute"),
        ("2026-11-28T00:00:00+08:00", "less than a minute"),  # the clock was set back
        ("yesterday", "an unknown time"),
    ],
)
def test_how_long_it_was_broken(since: str, words: str) -> None:
    body = compose(report(), report(1, failing_since=since)).body
    assert body.splitlines()[0] == f"It was broken for {words}, since {since[:19].replace('T', ' ')}."


def test_advice_for_each_kind_of_failure() -> None:
    errors = ["source unauthorised: GET ...", "copy denied: x", "target too many requests: x (and again after a pause)", "odd"]
    rows = [{"source": "s", "target": "t", "outcome": "failed", "error": error} for error in errors]
    rows.append({"source": "s", "target": "t", "outcome": "skipped", "error": "source not found: x"})
    body = compose(report(1, failed=4, images=rows[:4]), None).body
    assert [line.partition(":")[0] for line in body.splitlines() if ": " in line and not line.startswith("-")][:3] == [
        "Unauthorised",
        "Denied",
        "Too many requests",
    ]
    assert body.splitlines()[-3] == "The next pass tries again."
    again = compose(report(1, failed=1, images=rows[:1], next_pass="2026-11-28T00:00:00+08:00"), None).body
    assert "The next pass is at 2026-11-28 00:00:00." in again.splitlines()
    long = [rows[0] | {"error": "x" * 1000}]
    assert compose(report(1, images=long), None).body.splitlines()[0] == f"- s -> t: {'x' * 300}..."


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("de, fr", "en"),
        ("de, zh-TW;q=0.3", "zh"),
        ("zh;q=x, *", "en"),
        ("EN;q=0.5, ZH;q=0.7", "zh"),
    ],
)
def test_the_language_of_a_browser(header: str, language: str) -> None:
    assert preferred_language(header) == language


def test_the_first_ten_failures_are_of_many_kinds() -> None:
    """Twenty of one kind do not hide one of another."""
    rows = [
        {"source": "a/x", "target": "b/x", "outcome": "failed", "error": f"source not found: {number}"} for number in range(20)
    ]
    rows.append({"source": "c/x", "target": "b/x", "outcome": "failed", "error": "source unreachable: x"})
    lines = compose(report(1, failed=21, images=rows), None).body.splitlines()
    assert lines[:3] == [
        "- a/x -> b/x: source not found: 0",
        "- c/x -> b/x: source unreachable: x",
        "- a/x -> b/x: source not found: 1",
    ]
    assert lines[10] == "and 11 more, which report.json has"


@pytest.mark.parametrize(
    ("run", "english", "chinese"),
    [
        (report(), "there are no images", "没有镜像"),
        (report(skipped=1), "the image is up to date", "镜像是最新的"),
        (report(skipped=2, copied=1), "all 3 images are up to date, 1 copied", "3 个镜像全部是最新的，复制了 1 个"),
        (report(1, skipped=2, failed=1), "1 of 3 images failed", "3 个镜像中有 1 个失败"),
        (report(1, failed=1, run="queue"), "queue run: 1 of 1 images failed", "队列同步：1 个镜像中有 1 个失败"),
        (report(2, problems=["x"]), "could not start", "无法开始"),
        (report(75, problems=["x"]), "another pass is still running", "另一轮同步仍在运行"),
        (
            report(143, failed=2, copied=1),
            "interrupted, 2 of 3 images not finished, 1 copied",
            "已中断，3 个镜像中有 2 个未完成，复制了 1 个",
        ),
    ],
)
def test_headlines(run: Report, english: str, chinese: str) -> None:
    assert (headline(run), headline(run, CHINESE_HEADLINES)) == (english, chinese)
