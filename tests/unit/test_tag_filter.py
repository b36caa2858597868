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
        ("=1.2", "1.2.0"),
        ("V1.2.3-a-b.c-1", "1.2.3-a-b.c-1"),
        ("1.2.3--", "1.2.3--"),
        ("1.2.3-01", "1.2.3-01"),  # npm itself refuses the zero
        ("1.123456789012345", "1.123456789012345.0"),
        ("1.1234567890123456", None),
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
        # half of the tags are no majority
        (["v1.9", "v1.10", "a", "b"], {"newest": 1}, ["v1.10"]),
        (["1.0", "1.0-rc", "z-2", "z-10"], {"newest": 1}, ["z-10"]),
        (["1.0", "1.0-rc", "1.0-rc2", "z-2", "z-10"], {"newest": 1}, ["1.0"]),
        (["1.0", "z"], {"newest": 1, "sort": "semver"}, ["1.0"]),
        # globs are whole, patterns are searched
        (["a1", "a22", "ba1", "Z_.-9"], {"exclude": ["a?"]}, ["a22", "ba1", "Z_.-9"]),
        (["a1", "Z_.-9", "Zx"], {"exclude": ["Z_.-*"]}, ["a1", "Zx"]),
        (["a.b", "axb"], {"exclude": ["a.*"]}, ["axb"]),
        (["1-rc1", "rc", "1"], {"exclude": ["/rc/"]}, ["1"]),
        # a group has the version
        (["main-1.0", "main-2.0", "1.1", "main-x"], {"match": "/^main-(.*)$/", "semver": "1.x"}, ["main-1.0"]),
        (["v1.0", "1.0"], {"match": r"/^(?:v|(\d.*))/", "semver": "*"}, ["1.0"]),
        (["a", "b"], {"min": 1}, ["a", "b"]),
        (["a", "b"], {"include": ["b"], "newest": 1, "sort": "alphabetical"}, ["b"]),
        (["a", "b"], {"include": ["a"], "newest": 1, "sort": "alphabetical"}, ["b", "a"]),
        # the version decides before the rest of the tag does
        (["b-1.0_1", "a-1.0_2"], {"match": "/-(.*)$/", "newest": 1}, ["a-1.0_2"]),
        (["b-x1", "a-x2"], {"match": "/-(.*)$/", "newest": 1, "sort": "semver"}, ["a-x2"]),
        (["a", "b", "c"], {"include": ["a"], "exclude": ["b"]}, ["a", "c"]),
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


def test_the_reason_names_what_a_tag_lacks() -> None:
    selection = select(["main-1.0", "main-", "main-x", "1.0", "main-2.0"], match="/^main-(.*)/", semver="*", newest=1)
    assert selection.tags == ("main-2.0",)
    assert [selection.why_dropped(tag) for tag in selection.listed] == [
        "newest: it is not among the newest 1 by semver",
        "semver: '' is not a version",
        "semver: 'x' is not a version",
        "match: it does not match",
        None,
    ]
    assert select(["a", "b"], include=["a"]).why_dropped("b") == "include: nothing in `include` names it"
    assert select(["a", "b"], include=["a"]).why_dropped("never there") is None


@pytest.mark.parametrize(
    ("options", "needs_listing", "is_pattern"),
    [
        ({"include": ["a", "b"]}, False, False),
        ({"include": ["a", "b"], "exclude": ["b"]}, False, False),
        ({"include": ["a", "b"], "min": 1}, True, False),
        ({"include": ["a*"]}, True, False),
        ({"include": ["a"], "exclude": ["c"]}, True, False),
        ({"include": ["a"], "exclude": ["/a/"]}, True, False),
        ({"include": ["a"], "match": "/a/"}, True, False),
        ({"include": ["a"], "semver": "1"}, True, False),
        ({"include": ["a"], "newest": 1}, True, False),
        ({"match": "/a/"}, True, True),
        ({"match": "/a/", "min": 1}, True, False),
        ({"min": 1}, True, False),
    ],
)
def test_only_names_alone_need_no_list_of_tags(options: dict[str, Any], needs_listing: bool, is_pattern: bool) -> None:  # noqa: FBT001
    chosen = TagsEntry(**options).to_filter()
    assert (chosen.needs_listing, chosen.is_pattern) == (needs_listing, is_pattern)


def test_the_longest_range() -> None:
    longest = "1.x || " * 71 + "1.x"
    assert len(longest) == 500
    assert parse_range(longest).test(parse_version("1.2"))
    with pytest.raises(ValueError, match="is not a range of versions"):
        parse_range(f"{longest} ")


def test_a_slash_is_not_half_a_pattern() -> None:
    for text in ("/", "//", "/a", "/ab"):
        with pytest.raises(ValueError, match="has a pattern that does not end in '/'"):
            parse_matcher([text], compile_pattern)
    matcher = parse_matcher(["/a/", "/^b1$/"], compile_pattern)
    assert [matcher.find(tag) for tag in ("bab", "b1", "bb1", "b12")] == ["/a/", "/^b1$/", None, None]


SEMVER = ["9.z", "a2", "a10", "0.1.0", "1.0.0-1", "1.0.0-2", "1.0.0-10", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta"]
SEMVER += ["1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0-rc.2", "1.0.0", "1.0.1-rc.1", "1.0.1"]
SEMVER += ["1.0.10-rc.1", "1.0.10", "1.2-rc.2", "1.2", "1.10-rc.1", "1.10", "2", "10-rc.1", "10"]
NATURAL = ["2", "2-a", "2a", "10", "a", "a2", "a2b", "a10", "a10-2-3", "a10-10-1", "ab", "b1"]


@pytest.mark.parametrize(
    ("sort", "ordered"), [("semver", SEMVER), ("natural", NATURAL), ("alphabetical", ["10", "2", "2a", "a", "a10", "a2"])]
)
def test_the_newest_are_the_last_of_their_order(sort: str, ordered: list[str]) -> None:
    for count in range(1, len(ordered) + 1):
        newest = ordered[-count:]
        assert list(select(ordered[::-1], sort=sort, newest=count).tags) == newest[::-1]
