"""The images file in both formats: its problems, each with its location. tests/unit/test_rule.py has what rules mean."""

from pathlib import Path
from typing import Any

import pytest

from imageporter.config.files import Location
from imageporter.config.images_file import validate_defaults, validate_images
from imageporter.model.rule import Rule
from imageporter.system.errors import Problems

SHA = "sha256:" + "14b267eb38aa85fd12d0e168fffa2d8a6187ac53a14a0212b0d4fce8d729598c"


def validate(data: Any) -> tuple[tuple[Rule, ...], list[str]]:
    problems = Problems()
    return validate_images(data, Location(Path("images.yaml")), problems), list(problems)


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
        ({f"a@{SHA}": f"b:1@{SHA}"}, [f"'b:1@{SHA}' has a tag and a digest; leave the digest out"]),
        ({"password": "hunter2"}, ["is a key of an account, not a source; put it where the accounts are"]),
        ({"a:/x": "b"}, ["'a:/x' has a pattern that does not end in '/'; write repository:/pattern/"]),
        ({"a:1:/x/": "b"}, ["'a:1' has a tag or digest before its pattern; write repository:/pattern/"]),
        ({"a": "b:/x/"}, ["'b:/x/' has a pattern; a target names its tags, or none"]),
        ({"a,b": "c"}, ["'a,b' has a comma, but no tag before it; write repository:tag,tag"]),
        ({"a:1, 2": "c"}, ["'a:1, 2' has a tag that is not 1 to 128 letters, digits, '_', '.' or '-'"]),
        ({f"a@{SHA},b": "c"}, [f"'a@{SHA},b' has more than one digest; write one rule for each"]),
        ({"a": []}, ["is empty; add at least one"]),
        ({"a": 3}, ["must be a reference, a list of references, or an object with a target, found a number"]),
        ({"https://a": "b"}, ["'https://a' begins with a scheme; write host/repository:tag, without it"]),
    ],
)
def test_invalid_rules(data: dict[str, Any], lines: list[str]) -> None:
    (source,) = data
    key = source if source.isidentifier() else f'["{source}"]'
    rules, problems = validate(data)
    assert rules == ()
    assert problems == [f"images.yaml: {key}: {line}" for line in lines]


def test_two_rules_for_one_target_are_a_problem() -> None:
    rules, problems = validate({"a:1": "c", "b:1": "docker.io/library/c:1", "d:1": "e"})
    assert problems == ['images.yaml: ["b:1"]: docker.io/library/c:1 is the target at ["a:1"] already; keep one']
    assert len(rules) == 3


def test_the_same_pair_twice_is_a_problem_in_a_list_only() -> None:
    _, problems = validate([{"source": "a", "target": "b"}, {"source": "a", "target": "b"}])
    assert problems == ["images.yaml: [1].target: docker.io/library/b:latest is the target at [0].target already; keep one"]
    rules, problems = validate({"aa": "bb", "aa:1": "bb"})
    assert (len(rules), problems) == (2, [])


def test_locations_of_rules() -> None:
    rules, _ = validate([{"source": "aa", "target": ["bb", "cc"]}, {"source": "aa", "target": "dd"}])
    assert [rule.location for rule in rules] == ["[0].target[0]", "[0].target[1]", "[1].target"]
    rules, _ = validate({"aa:1": ["bb", "cc"]})
    assert [rule.location for rule in rules] == ['["aa:1"][0]', '["aa:1"][1]']


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            {"source": "a.io/bb:1", "target": "registry.example.com"},
            "[0].target: 'registry.example.com' is a registry without a repository; write registry.example.com/ to keep the "
            "source's path",
        ),
        (
            {"source": "a.io/bb:1", "target": "b.io/cc", "flatten": "-"},
            "[0].target: 'b.io/cc' is not made from the source, so `flatten` has no effect; leave it out",
        ),
        (
            {"source": "a.io/bb:1", "target": "{tag}:5000/cc"},
            "[0].target: '{tag}:5000/cc' has {tag} in its registry; write it after the first '/'",
        ),
        (
            {"source": "a.io/bb@sha256:" + "0" * 64, "target": "b.io/cc/", "platforms": ["linux/amd64"]},
            "[0].target: 'b.io/cc/' has no tag, and an index of some platforms has another digest; add a tag",
        ),
    ],
)
def test_options_that_cannot_work(row: dict[str, Any], problem: str) -> None:
    _, problems = validate([row])
    assert problems == [f"images.yaml: {problem}"]


def test_a_name_that_the_tag_makes_invalid_is_a_problem() -> None:
    _, problems = validate([{"source": "a.io/bb:" + "x" * 128, "target": "b.io/all:{name}-{tag}"}])
    assert len(problems) == 1
    assert problems[0].startswith("images.yaml: [0].target: ")


def test_null_takes_no_defaults() -> None:
    problems = Problems()
    defaults = validate_defaults({"tags": {"newest": 1}, "platforms": "linux/amd64"}, Location(Path("config.yaml")), problems)
    data = {"a.io/bb": {"target": "b.io/cc", "tags": None, "platforms": None}, "a.io/dd": "b.io/dd"}
    rules = validate_images(data, Location(Path("config.yaml")), problems, defaults)
    assert not problems
    assert [(rule.source.filter is None, rule.platforms is None) for rule in rules] == [(True, True), (False, False)]
