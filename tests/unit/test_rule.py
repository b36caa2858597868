"""The rules of both formats: image-syncer's tag syntax, checked on both sides."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageporter.model import rule
from imageporter.config.files import Place

SHA = "sha256:" + "14b267eb38aa85fd12d0e168fffa2d8a6187ac53a14a0212b0d4fce8d729598c"
TAGS = ("v1.0", "v1.1", "v2.0", "latest", "aaa")


def checked(data: Any) -> tuple[tuple[rules.Rule, ...], list[str]]:
    mistakes: list[str] = []
    return rules.check(data, Place(Path("images.yaml")), mistakes), mistakes


def expanded(data: Any, tags: Sequence[str] = TAGS) -> tuple[list[tuple[str, str]], list[str]]:
    """The pairs that the rules in `data` ask for, and what was refused."""
    found, mistakes = checked(data)
    assert mistakes == []
    refused: list[str] = []
    images = rules.expand(found, lambda _: tags, lambda image, reason: refused.append(f"{image.target}: {reason}"))
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
        # and the rules that it states
        (f"{KUBE}:v1.0,v2.0", f"{RUOHE}:old,new", {"v1.0": "old", "v2.0": "new"}),
        (f"{KUBE}:/^v1/", RUOHE, {"v1.0": "v1.0", "v1.1": "v1.1"}),
        (f"{KUBE}:/^latest$/", f"{RUOHE}:stable", {"latest": "stable"}),
    ],
)
def test_image_syncers_examples(source: str, target: str, tags: dict[str, str]) -> None:
    pairs, refused = expanded({source: target})
    assert pairs == [(f"{KUBE}:{left}", f"{RUOHE}:{right}") for left, right in tags.items()]
    assert refused == []


def test_a_digest_is_pushed_by_digest_or_gets_the_targets_tag() -> None:
    assert expanded({f"{KUBE}@{SHA}": RUOHE})[0] == [(f"{KUBE}@{SHA}", f"{RUOHE}@{SHA}")]
    assert expanded({f"{KUBE}@{SHA}": f"{RUOHE}@{SHA}"})[0] == [(f"{KUBE}@{SHA}", f"{RUOHE}@{SHA}")]
    assert expanded({f"{KUBE}@{SHA}": f"{RUOHE}:pinned"})[0] == [(f"{KUBE}@{SHA}", f"{RUOHE}:pinned")]


def test_several_targets() -> None:
    pairs, _ = expanded({f"{KUBE}:v1.1": [f"{RUOHE}1", f"{RUOHE}2"]})
    assert pairs == [(f"{KUBE}:v1.1", f"{RUOHE}1:v1.1"), (f"{KUBE}:v1.1", f"{RUOHE}2:v1.1")]


def test_the_readmes_rules_all_in_one_file_meet_in_the_same_images() -> None:
    """The same image asked for twice is one image."""
    pairs, refused = expanded({KUBE: RUOHE, f"{KUBE}:v1.0": RUOHE, f"{KUBE}:v1.0,v2.0": RUOHE, f"{KUBE}:/a+/": RUOHE})
    assert pairs == [(f"{KUBE}:{tag}", f"{RUOHE}:{tag}") for tag in TAGS]
    assert refused == []


def test_the_list_format_has_dockers_meaning_for_no_tag() -> None:
    rows = [
        {"source": "busybox", "target": "ghcr.io/me/busybox"},
        {"source": "alpine:3.19,3.20", "target": "ghcr.io/me/alpine"},
        {"source": "golang:/^1/", "target": "ghcr.io/me/golang"},
        {"source": f"redis@{SHA}", "target": "ghcr.io/me/redis"},
    ]
    pairs, _ = expanded(rows, tags=("1.26", "latest"))
    library = "docker.io/library"
    assert pairs == [
        (f"{library}/busybox:latest", "ghcr.io/me/busybox:latest"),
        (f"{library}/alpine:3.19", "ghcr.io/me/alpine:3.19"),
        (f"{library}/alpine:3.20", "ghcr.io/me/alpine:3.20"),
        (f"{library}/golang:1.26", "ghcr.io/me/golang:1.26"),
        (f"{library}/redis@{SHA}", "ghcr.io/me/redis:latest"),
    ]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (
            {"a:1,2": "b:1"},
            ["'a:1,2' -> 'b:1' has 2 on the left and 1 on the right; write as many tags, or none, on the right"],
        ),
        (
            {"a:1": "b:1,2"},
            ["'a:1' -> 'b:1,2' has 1 on the left and 2 on the right; write as many tags, or none, on the right"],
        ),
        (
            {f"a@{SHA}": "b:1,2"},
            [f"'a@{SHA}' -> 'b:1,2' has 1 on the left and 2 on the right; write as many tags, or none, on the right"],
        ),
        (
            {"a:1": f"b@{SHA}"},
            [f"'a:1' -> 'b@{SHA}' has a digest on the right that is not the one on the left; leave it out"],
        ),
        (
            {"a:/(/": "b"},
            ["'a:/(/' has a pattern that is no regular expression: missing ), unterminated subpattern at position 0"],
        ),
        (
            {"a:/[[:digit:]]/": "b"},
            ["'a:/[[:digit:]]/' has a set within a set, which Python does not have; write [0-9] for [[:digit:]]"],
        ),
        (
            {"a:/b{99999999999999999999}/": "b"},
            ["'a:/b{99999999999999999999}/'... has a pattern that is too large; write a simpler one"],
        ),
        ({f"a@{SHA}": f"b:1@{SHA}"}, [f"'b:1@{SHA}' has a tag and a digest; leave the digest out"]),
        ({"password": "hunter2"}, ["is a key of an account, not a source; put it where the accounts are"]),
        ({"a:/x": "b"}, ["'a:/x' has a pattern that does not end in '/'; write repository:/pattern/"]),
        ({"a:1:/x/": "b"}, ["'a:1' has a tag or digest before its pattern; write repository:/pattern/"]),
        ({"a": "b:/x/"}, ["'b:/x/' has a pattern; a target names its tags, or none"]),
        ({"a,b": "c"}, ["'a,b' has a comma, but no tag before it; write repository:tag,tag"]),
        ({"a:1, 2": "c"}, ["'a:1, 2' has a tag that is not 1 to 128 letters, digits, '_', '.' or '-'"]),
        ({f"a@{SHA},b": "c"}, [f"'a@{SHA},b' has more than one digest; write one rule for each"]),
        ({"a": []}, ["is empty; add at least one"]),
        ({"a": 3}, ["must be a reference, or a list of references, found a number"]),
        ({"https://a": "b"}, ["'https://a' begins with a scheme; write host/repository:tag, without it"]),
    ],
)
def test_wrong_rules_are_quoted(data: dict[str, Any], lines: list[str]) -> None:
    (source,) = data
    key = source if source.isidentifier() else f'["{source}"]'
    found, mistakes = checked(data)
    assert found == ()
    assert mistakes == [f"images.yaml: {key}: {line}" for line in lines]


def test_two_rules_for_one_target_are_refused_where_that_is_known() -> None:
    found, mistakes = checked({"a:1": "c", "b:1": "docker.io/library/c:1", "d:1": "e"})
    assert mistakes == ['images.yaml: ["b:1"]: docker.io/library/c:1 is the target at ["a:1"] already; keep one']
    assert len(found) == 3


def test_two_rules_for_one_target_that_only_the_expansion_shows() -> None:
    pairs, refused = expanded({"aa": "cc", "bb:/v/": "cc"}, tags=("v1", "w1"))
    names = [("docker.io/library/aa:" + tag, "docker.io/library/cc:" + tag) for tag in ("v1", "w1")]
    assert pairs == names
    assert refused == ['docker.io/library/cc:v1: is the target of aa already, and of ["bb:/v/"]; keep one']


def test_a_pattern_that_matches_another_number_than_the_target_names() -> None:
    pairs, refused = expanded({"aa:/v/": "cc:1"})
    assert pairs == []
    assert refused == [
        "docker.io/library/cc: 'aa:/v/' -> 'cc:1' has 3 on the left and 1 on the right; "
        "write as many tags, or none, on the right"
    ]


tag_names = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,9}\Z")
tag_lists = st.lists(tag_names, min_size=1, max_size=5, unique=True)


@given(source=st.none() | tag_lists | st.sampled_from(["^v", "a", r"\d$", "."]), target=st.none() | tag_lists, there=tag_lists)
def test_rules_against_a_small_model(source: list[str] | str | None, target: list[str] | None, there: list[str]) -> None:
    """What a rule names, in the words of image-syncer's README, said once more in the simplest way."""
    if source is None:
        left, names = "host.io/aa", there
    elif isinstance(source, str):
        left, names = f"host.io/aa:/{source}/", [tag for tag in there if re.search(source, tag)]
    else:
        left, names = "host.io/aa:" + ",".join(source), source
    right = "host.io/bb" + (":" + ",".join(target) if target else "")
    found, mistakes = checked({left: right})
    if target and len(target) != len(names):
        if isinstance(source, list):
            assert len(mistakes) == 1
            return
        with pytest.raises(ValueError, match="on the left"):
            found[0].images(there)
        return
    assert mistakes == []
    images = found[0].images(there)
    assert [(image.source.tag, image.target.tag) for image in images] == list(zip(names, target or names, strict=True))
