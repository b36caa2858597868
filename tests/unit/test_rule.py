"""Rules: image-syncer's tag syntax, and the images that a rule stands for."""

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from imageporter.config.files import Location
from imageporter.config.images_file import validate_images
from imageporter.model import platforms
from imageporter.model.reference import Reference
from imageporter.model.rule import Rule, TagSelector, expand, parse_selector, parse_target
from imageporter.system.errors import Problems

SHA = "sha256:" + "14b267eb38aa85fd12d0e168fffa2d8a6187ac53a14a0212b0d4fce8d729598c"
TAGS = ("v1.0", "v1.1", "v2.0", "latest", "aaa")


def validate(data: Any) -> tuple[tuple[Rule, ...], list[str]]:
    problems = Problems()
    return validate_images(data, Location(Path("images.yaml")), problems), list(problems)


def expand_all(data: Any, tags: Sequence[str] = TAGS) -> tuple[list[tuple[str, str]], list[str]]:
    """Expand the rules in `data`, whose source repositories all have `tags`; return the pairs, and what was refused."""
    rules, problems = validate(data)
    assert problems == []
    refused: list[str] = []
    images = expand(rules, lambda _: tags, lambda image, reason: refused.append(f"{image.target}: {reason}"))
    return [(str(image.source), str(image.target)) for image in images], refused


KUBE, RUOHE = "quay.io/coreos/kube-rbac-proxy", "quay.io/ruohe/kube-rbac-proxy"


@pytest.mark.parametrize(
    ("source", "target", "tags"),
    [
        # the examples of image-syncer's README
        (KUBE, RUOHE, {tag: tag for tag in TAGS}),
        (f"{KUBE}:v1.0", RUOHE, {"v1.0": "v1.0"}),
        (f"{KUBE}:v1.0,v2.0", RUOHE, {"v1.0": "v1.0", "v2.0": "v2.0"}),
        (f"{KUBE}:/a+/", RUOHE, {"latest": "latest", "aaa": "aaa"}),
        # and its rules in words
        (f"{KUBE}:v1.0,v2.0", f"{RUOHE}:old,new", {"v1.0": "old", "v2.0": "new"}),
        (f"{KUBE}:/^v1/", RUOHE, {"v1.0": "v1.0", "v1.1": "v1.1"}),
        (f"{KUBE}:/^latest$/", f"{RUOHE}:stable", {"latest": "stable"}),
    ],
)
def test_image_syncers_examples(source: str, target: str, tags: dict[str, str]) -> None:
    pairs, refused = expand_all({source: target})
    assert pairs == [(f"{KUBE}:{left}", f"{RUOHE}:{right}") for left, right in tags.items()]
    assert refused == []


def test_a_digest_keeps_its_digest_or_gets_the_targets_tag() -> None:
    assert expand_all({f"{KUBE}@{SHA}": RUOHE})[0] == [(f"{KUBE}@{SHA}", f"{RUOHE}@{SHA}")]
    assert expand_all({f"{KUBE}@{SHA}": f"{RUOHE}@{SHA}"})[0] == [(f"{KUBE}@{SHA}", f"{RUOHE}@{SHA}")]
    assert expand_all({f"{KUBE}@{SHA}": f"{RUOHE}:pinned"})[0] == [(f"{KUBE}@{SHA}", f"{RUOHE}:pinned")]


def test_several_targets() -> None:
    pairs, _ = expand_all({f"{KUBE}:v1.1": [f"{RUOHE}1", f"{RUOHE}2"]})
    assert pairs == [(f"{KUBE}:v1.1", f"{RUOHE}1:v1.1"), (f"{KUBE}:v1.1", f"{RUOHE}2:v1.1")]


def test_overlapping_rules_give_each_image_once() -> None:
    """All of image-syncer's examples in one file."""
    pairs, refused = expand_all({KUBE: RUOHE, f"{KUBE}:v1.0": RUOHE, f"{KUBE}:v1.0,v2.0": RUOHE, f"{KUBE}:/a+/": RUOHE})
    assert pairs == [(f"{KUBE}:{tag}", f"{RUOHE}:{tag}") for tag in TAGS]
    assert refused == []


def test_in_the_list_format_no_tag_means_latest() -> None:
    rows = [
        {"source": "busybox", "target": "ghcr.io/me/busybox"},
        {"source": "alpine:3.19,3.20", "target": "ghcr.io/me/alpine"},
        {"source": "golang:/^1/", "target": "ghcr.io/me/golang"},
        {"source": f"redis@{SHA}", "target": "ghcr.io/me/redis"},
    ]
    pairs, _ = expand_all(rows, tags=("1.26", "latest"))
    library = "docker.io/library"
    assert pairs == [
        (f"{library}/busybox:latest", "ghcr.io/me/busybox:latest"),
        (f"{library}/alpine:3.19", "ghcr.io/me/alpine:3.19"),
        (f"{library}/alpine:3.20", "ghcr.io/me/alpine:3.20"),
        (f"{library}/golang:1.26", "ghcr.io/me/golang:1.26"),
        (f"{library}/redis@{SHA}", "ghcr.io/me/redis:latest"),
    ]


def test_two_rules_for_one_target_that_only_the_expansion_shows_are_refused() -> None:
    pairs, refused = expand_all({"aa": "cc", "bb:/v/": "cc"}, tags=("v1", "w1"))
    names = [("docker.io/library/aa:" + tag, "docker.io/library/cc:" + tag) for tag in ("v1", "w1")]
    assert pairs == names
    assert refused == ['docker.io/library/cc:v1: is the target of aa already, and of ["bb:/v/"]; keep one']


def test_a_pattern_that_matches_another_number_than_the_target_names() -> None:
    pairs, refused = expand_all({"aa:/v/": "cc:1"})
    assert pairs == []
    assert refused == [
        "docker.io/library/cc: 'aa:/v/' -> 'cc:1' has 3 on the left and 1 on the right; "
        "write as many tags, or none, on the right"
    ]


tag_names = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,9}\Z")
tag_lists = st.lists(tag_names, min_size=1, max_size=5, unique=True)


@given(source=st.none() | tag_lists | st.sampled_from(["^v", "a", r"\d$", "."]), target=st.none() | tag_lists, there=tag_lists)
def test_rules_against_a_small_model(source: list[str] | str | None, target: list[str] | None, there: list[str]) -> None:
    """The rules of image-syncer's README, written once more in the simplest way."""
    if source is None:
        left, names = "host.io/aa", there
    elif isinstance(source, str):
        left, names = f"host.io/aa:/{source}/", [tag for tag in there if re.search(source, tag)]
    else:
        left, names = "host.io/aa:" + ",".join(source), source
    right = "host.io/bb" + (":" + ",".join(target) if target else "")
    rules, problems = validate({left: right})
    if target and len(target) != len(names):
        if isinstance(source, list):
            assert len(problems) == 1
            return
        with pytest.raises(ValueError, match="on the left"):
            rules[0].images(there)
        return
    assert problems == []
    images = rules[0].images(there)
    assert [(image.source.tag, image.target.tag) for image in images] == list(zip(names, target or names, strict=True))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a:/(/", "'a:/(/' has a pattern that is not a regular expression: missing ): (; correct it"),
        ("a:/[/", "'a:/[/' has a pattern that is not a regular expression: missing ]: [; correct it"),
        (
            "a:/b{1001}/",
            "'a:/b{1001}/' has a pattern that is not a regular expression: invalid repetition size: {1001}; correct it",
        ),
        (r"a:/\pL{1000}/", r"'a:/\\pL{1000}/'... has a pattern that is too large; write a simpler one"),
    ],
)
def test_patterns_that_are_not_regular_expressions(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse_selector(text)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("^(?!v)", "(?!"),
        ("(?<!-rc)$", "(?<"),
        ("(?<=v)1", "(?<"),
        ("(?=v)", "(?="),
        (r"(a)\1", r"\1"),
        (r"(?P<x>a)\k<x>", r"\k"),
    ],
)
def test_what_re2_does_not_support_is_an_error_with_an_alternative(pattern: str, found: str) -> None:
    text = f"repo.io/a/b:/{pattern}/"
    with pytest.raises(ValueError, match="which RE2 does not support") as caught:
        parse_selector(text)
    message = str(caught.value)
    assert message.startswith(f"{text!r} has a pattern with {found!r}"[:-1])
    assert message.endswith("write a pattern of the tags to take, or list them: repository:tag,tag")


def test_a_posix_class() -> None:
    pairs, _ = expand_all({f"{KUBE}:/^v[[:digit:]]/": RUOHE})
    assert [right.rpartition(":")[2] for _, right in pairs] == ["v1.0", "v1.1", "v2.0"]


def test_patterns_run_in_linear_time() -> None:
    """A backtracking engine would never return from this."""
    (rule,), _ = validate({f"{KUBE}:/^(a+)+$/": RUOHE})
    began = time.monotonic()
    assert rule.images(["a" * 127 + "b"]) == ()
    assert len(rule.images(["a" * 128])) == 1
    assert time.monotonic() - began < 1


def test_an_image_has_the_options_of_its_rule() -> None:
    chosen = platforms.parse("linux/amd64")
    (rule,), _ = validate({f"{KUBE}:1": f"{RUOHE}:2"})
    (image,) = replace(rule, platforms=chosen, referrers=True, signed_by="a.pub").images()
    assert (image.location, image.platforms, image.referrers, image.signed_by) == (rule.location, chosen, True, "a.pub")
    (image,) = rule.images()
    assert (image.platforms, image.referrers, image.signed_by) == (None, False, None)
    assert (rule.as_image.location, str(rule.as_image)) == (rule.location, f"{KUBE} -> {RUOHE}")


@pytest.mark.parametrize(
    ("target", "depends"),
    [
        *(("r.io/{tag}/app", True), ("r.io/{tag}", True), ("r.io/a{tag}:1", True), ("r.io:5000/{tag}:{tag}", True)),
        *(("r.io/app:{tag}", False), ("r.io:5000/app:v{tag}", False), ("r.io/app", False), ("r.io/app:1", False)),
    ],
)
def test_whether_the_repository_of_a_target_depends_on_the_tag(target: str, depends: bool) -> None:  # noqa: FBT001
    assert parse_target(target, parse_selector("a.io/app:1"), None).depends_on_tag == depends


def test_a_digest_has_no_tag_for_its_target() -> None:
    with pytest.raises(ValueError, match=r"^'r.io/app:\{tag\}' has \{tag\}, but the source is a digest; name a tag$"):
        parse_target("r.io/app:{tag}", parse_selector(f"a.io/app@{SHA}"), None)


def test_the_sides_of_a_rule() -> None:
    repository = Reference("a.io", "app")
    assert parse_selector("a.io/app") == TagSelector(repository)
    assert parse_selector("a.io/app", "latest") == TagSelector(repository, ("latest",))
    assert parse_selector("a.io/app:1,2", "latest") == TagSelector(repository, ("1", "2"))
    assert parse_selector(f"a.io/app:1@{SHA}", "latest") == TagSelector(repository, digest=SHA)
    counts = [parse_selector(text).image_count for text in ("a.io/app", "a.io/app:1,2", f"a.io/app@{SHA}", "a.io/app:/1/")]
    assert counts == [None, 2, 1, None]
    pattern = parse_selector("a.io/app:/a:/b/").filter
    assert pattern is not None
    assert pattern.select(["a:/b", "b"]).tags == ("a:/b",)
    assert list(parse_selector("a.io/app").select(["1", "2"]).tags) == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a.io/app:/", "'a.io/app:/' has a pattern that does not end in '/'; write repository:/pattern/"),
        ("a.io/app:/a", "'a.io/app:/a' has a pattern that does not end in '/'; write repository:/pattern/"),
        ("a.io/app://", "'a.io/app://' has a tag that is not 1 to 128 letters, digits, '_', '.' or '-'"),
        ("a.io/app:1:/a/", "'a.io/app:1' has a tag or digest before its pattern; write repository:/pattern/"),
        (f"a.io/app@{SHA}:/a/", f"'a.io/app@{SHA}' has a tag or digest before its pattern; write repository:/pattern/"),
        (f"a.io/app@{SHA},1", f"'a.io/app@{SHA},1' has more than one digest; write one rule for each"),
        ("a.io/app,1", "'a.io/app,1' has a comma, but no tag before it; write repository:tag,tag"),
        ("https://a.io/app", "'https://a.io/app' begins with a scheme; write host/repository:tag, without it"),
        ("a.io/app:1,v*", "'a.io/app:1,v*' has a tag that is not 1 to 128 letters, digits, '_', '.' or '-'"),
        (
            r"a.io/app:/\pL{1000}this pattern has more than forty letters/",
            r"'a.io/app:/\\pL{1000}this pattern has more'... has a pattern that is too large; write a simpler one",
        ),
        ("a.io/app:1,b d", "'a.io/app:1,b d' has a tag that is not 1 to 128 letters, digits, '_', '.' or '-'"),
    ],
)
def test_what_is_no_side_of_a_rule(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        parse_selector(text)


def test_a_pattern_after_which_the_text_has_two_slashes() -> None:
    chosen = parse_selector("a.io/app:/a//b/").filter
    assert chosen is not None
    assert chosen.select(["a//b", "ab"]).tags == ("a//b",)


def test_re2_writes_nothing_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="is not a regular expression"):
        parse_selector("a.io/app:/(/")
    assert capfd.readouterr().err == ""


def expanded(rules: Sequence[Rule], tags: Sequence[str] | None = TAGS) -> tuple[list[str], list[str], list[str]]:
    """Return the images of some rules, what was refused, and the rules whose tags were listed."""
    refused: list[str] = []
    listed: list[str] = []

    def list_tags(rule: Rule) -> Sequence[str] | None:
        listed.append(rule.location)
        return tags

    images = expand(rules, list_tags, lambda image, reason: refused.append(f"{image}: {reason}"))
    return [str(image) for image in images], refused, listed


def test_only_the_rules_that_need_it_list_tags_and_without_a_list_they_are_left_out() -> None:
    rules, _ = validate({"a.io/app:1": "b.io/app", "a.io/other": "b.io/other"})
    images, refused, listed = expanded(rules, None)
    assert (images, refused) == (["a.io/app:1 -> b.io/app:1"], [])
    assert listed == [rules[1].location]


def test_of_two_rules_for_one_target_the_second_yields_if_only_its_options_differ() -> None:
    (rule,), _ = validate({"a.io/app:1": "b.io/app"})
    (other,), _ = validate({"a.io/other:1": "b.io/app"})
    options = replace(rule, referrers=True)
    expected = ["a.io/app:1 -> b.io/app:1"]
    refusal = f"is the target of {rule.location} already, and of {{}}; keep one"
    assert expanded((rule, rule)) == (expected, [], [])
    assert expanded((rule, replace(options, yields=True))) == (expected, [], [])
    assert expanded((rule, options))[1] == [f"a.io/app:1 -> b.io/app:1: {refusal.format(rule.location)}"]
    for one in (other, replace(other, yields=True), replace(other, yields=True, referrers=True)):
        images, refused, _ = expanded((rule, one))
        assert (images, refused) == (expected, [f"a.io/other:1 -> b.io/app:1: {refusal.format(other.location)}"])


@pytest.mark.parametrize(("tags", "minimum", "taken"), [(["v1"], 2, "1 tag"), (["v1", "v2"], 3, "2 tags"), ([], 1, "0 tags")])
def test_a_rule_with_too_few_tags_is_refused_and_copies_what_there_is(tags: list[str], minimum: int, taken: str) -> None:
    rules, _ = validate({"a.io/app": {"target": "b.io/app", "tags": {"match": "/v/", "min": minimum}}})
    images, refused, _ = expanded(rules, tags)
    assert len(images) == len(tags)
    assert refused == [
        f"a.io/app -> b.io/app: takes {taken}, and `min` is {minimum}; sync.py --explain shows what drops the others"
    ]
    assert expanded(rules, [f"v{number}" for number in range(minimum)])[1] == []


def test_a_rule_that_takes_no_tag_is_a_warning_and_what_a_filter_drops_is_logged() -> None:
    lines: list[tuple[str, str]] = []
    logger.add(lambda message: lines.append((message.record["level"].name, message.record["message"])), level="DEBUG")
    rules, _ = validate({"a.io/app:/w/": "b.io/app", "a.io/all": "b.io/all"})
    images, refused, _ = expanded(rules, ["v1"])
    assert (images, refused) == (["a.io/all:v1 -> b.io/all:v1"], [])
    location = rules[0].location
    assert lines == [
        ("DEBUG", f"{location}: 1 listed, 0 after match"),
        ("WARNING", f"{location}: {rules[0].text} matches no tag"),
    ]
    lines.clear()
    expanded(rules[1:], [])
    assert lines == [("WARNING", f"{rules[1].location}: {rules[1].text} matches no tag")]
