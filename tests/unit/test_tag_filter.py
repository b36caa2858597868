"""Tag filters: versions, exclusions, inclusions, the newest, and why a tag is dropped."""

from collections.abc import Sequence
from typing import Any

import pytest

from imageporter.config.rule_options import TagsEntry
from imageporter.model.rule import compile_pattern
from imageporter.model.tag_filter import Selection, parse_matcher, parse_range, parse_version


def select(listed: Sequence[str], **options: Any) -> Selection:
    return TagsEntry(**options).to_filter().select(listed)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("1", "1.0.0"),
        ("v1.2", "1.2.0"),
        ("1.2.3_build", "1.2.3+build"),
        ("1.2.3-rc.1+b", "1.2.3-rc.1+b"),
        ("01.2", "1.2.0"),
        ("latest", None),
        ("1.2.3.4", None),
        ("2024112412345678", None),  # npm's numbers have 15 digits
        ("1.2.3-rc..1", None),
        ("1.2.3-.", None),
        ("", None),
    ],
)
def test_versions_are_read_leniently_but_not_invented(text: str, version: str | None) -> None:
    parsed = parse_version(text)
    assert (parsed and str(parsed.raw if hasattr(parsed, "raw") else parsed)) == version


@pytest.mark.parametrize(
    "text",
    [">=7, <9", ">=7; <9", "7 or 8", ">=7 <9 !=8.0.0", "1.2.3 -2.0.0", "7,8", "x" * 501, "bla", "1.x || " * 100 + "1.x"],
)
def test_a_range_that_npm_would_half_ignore_is_a_mistake(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a range of versions; separate with spaces, and write for example '>=7 <9'"):
        parse_range(text)


@pytest.mark.parametrize("text", ["^v1.*", "[0-9]*", "v1.*,v2.*", "{a,b}*", "!*-rc", "*-rc/*", "/x", "a b"])
def test_a_glob_that_can_match_nothing_is_a_mistake(text: str) -> None:
    with pytest.raises(ValueError, match=r"write (a regular expression as )?/pattern/"):
        parse_matcher([text], compile_pattern)


@pytest.mark.parametrize(
    ("listed", "options", "taken"),
    [
        # what looks like a version, but is none, does not decide the order
        (["1.0.0", "2.0.0.1", "3.0.0.1", "4.0.0.1"], {"newest": 1}, ["4.0.0.1"]),
        (["2024112412345678", "2024112512345678", "7"], {"newest": 1}, ["2024112512345678"]),
        (["v9", "v10", "latest"], {"newest": 1}, ["v10"]),
        (["b9", "b10"], {"newest": 1}, ["b10"]),
        (["b9", "b10"], {"newest": 1, "sort": "alphabetical"}, ["b9"]),
        (["1.0.0-rc1", "1.0.0", "1.0.0-rc2"], {"newest": 2}, ["1.0.0", "1.0.0-rc2"]),
        # equal versions: the tag decides
        (["main-9", "main-10"], {"match": "/^(main)-/", "newest": 1}, ["main-10"]),
        (["1.2-9", "1.2-10"], {"match": r"/^(1\.2)-\d+$/", "newest": 1}, ["1.2-10"]),
        # include alone, and beside others
        (["a", "b"], {"include": ["a", "gone"], "exclude": ["gone"]}, ["a"]),
        (["a", "b", "a-rc1"], {"include": ["a"], "exclude": ["*-rc*"]}, ["a", "b"]),
        (["a1", "a2", "b"], {"include": ["a*"]}, ["a1", "a2"]),
        (["a1", "a2", "b"], {"include": ["a*"], "sort": "natural"}, ["a1", "a2"]),
        (["1.0", "b"], {"semver": "1.x", "include": ["b", "missing"]}, ["1.0", "b", "missing"]),
    ],
)
def test_selections(listed: list[str], options: dict[str, Any], taken: list[str]) -> None:
    assert list(select(listed, **options).tags) == taken


def test_every_dropped_tag_has_a_reason() -> None:
    listed = ["7.2.5", "7.4.1", "8.0.0-rc1", "9.0.0", "nightly", "7.0.0-alpine"]
    selection = select(listed, semver=">=7 <9", exclude=["7.4.*"], newest=1)
    assert selection.tags == ("7.2.5",)
    reasons = {tag: selection.why_dropped(tag) for tag in listed}
    assert reasons["7.2.5"] is None
    assert reasons["7.4.1"] == "exclude: '7.4.*' excludes it"
    assert reasons["nightly"] == "semver: it is not a version"
    assert reasons["9.0.0"] == "semver: it is not in '>=7 <9'"
    assert (reasons["8.0.0-rc1"] or "").startswith("semver: it is not in '>=7 <9'; a prerelease is only taken")


@pytest.mark.parametrize(
    ("options", "counts", "why"),
    [
        ({"include": ["a*"], "min": 1}, "3 listed, 2 after include", None),
        (
            {"include": ["a1", "a2"], "exclude": ["a1"], "min": 1},
            "3 listed, 2 after include, 1 after exclude",
            "exclude: 'a1'",
        ),
        ({"exclude": ["x"]}, "3 listed, 3 after exclude", None),
        ({"match": "/b/", "include": ["a1"]}, "3 listed, 1 after match, 2 after include", None),
        # what would have been included is excluded, which is why it is dropped, and not that it does not match
        (
            {"match": "/b/", "include": ["a*"], "exclude": ["a1"]},
            "3 listed, 1 after match, 1 after exclude, 2 after include",
            "include: 'a1'",
        ),
    ],
)
def test_what_each_stage_leaves_is_shown_once(options: dict[str, Any], counts: str, why: str | None) -> None:
    selection = select(["a1", "a2", "b"], **options)
    assert selection.counts == counts
    assert selection.why_dropped("a1") == (why and f"{why} excludes it")


def test_a_push_is_not_asked_whether_it_is_the_newest() -> None:
    chosen = TagsEntry(semver="7.x", newest=1, exclude=["*-rc*"], include=["latest"]).to_filter()
    assert [tag for tag in ("7.1", "7.2", "latest", "8.0", "7.3-rc1") if chosen.drop_reason(tag) is None] == [
        "7.1",
        "7.2",
        "latest",
    ]
