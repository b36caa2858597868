"""Rules: image-syncer's tag syntax, and the images that a rule stands for."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageporter.config.files import Location
from imageporter.config.images_file import validate_images
from imageporter.model.rule import Rule, expand, parse_selector
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
