"""Names of targets that are made from their source."""

import pytest

from imageporter.model.reference import Reference, parse
from imageporter.model.target_name import check_separator, check_target, complete_target, depends_on_source, with_tag

KEYS = "the keys are {registry}, {repository}, {name} and {tag}"


@pytest.mark.parametrize("text", [".", "_", "__", "-", "---"])
def test_a_separator_is_one_of_docker_s(text: str) -> None:
    check_separator(text)


@pytest.mark.parametrize("text", ["", "/", "..", "___", "_-", "a", "-a", "- "])
def test_nothing_else_is_a_separator(text: str) -> None:
    with pytest.raises(ValueError, match=r"cannot join the components of a path; write '-', '_', '__' or '.'$"):
        check_separator(text)


@pytest.mark.parametrize(
    "text", ["a.io/{registry}/{repository}/{name}:{tag}", "a.io/{tag}", "a.io/{name}{tag}", "a.io/b/", "a.io/b"]
)
def test_a_target_may_have_every_key(text: str) -> None:
    check_target(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.io/{other}", "{other}"),
        ("a.io/{name", "{name"),
        ("a.io/name}", "}"),
        ("a.io/{}", "{}"),
        ("a.io/{{name}}", "{"),
        ("a.io/{Name}", "{Name}"),
        ("a.io/{name}/{host}", "{host}"),
        ("a.io/{", "{"),
    ],
)
def test_a_target_may_have_no_other_key(text: str, found: str) -> None:
    with pytest.raises(ValueError, match="has '") as caught:
        check_target(text)
    assert str(caught.value) == f"{text!r} has {found!r}; {KEYS}"


def test_a_tag_does_not_choose_the_registry() -> None:
    for text in ("{tag}/app", "{tag}", "reg-{tag}.io/team/app"):
        with pytest.raises(ValueError, match=r"has {tag} in its registry; write it after the first '/'$"):
            check_target(text)
    check_target("a.io/{tag}/app")


@pytest.mark.parametrize(
    ("text", "depends"),
    [
        *(("a.io/b/", True), ("a.io/{name}", True), ("a.io/{name", True), ("a.io/name}", True)),
        *(("a.io/b", False), ("a.io/b:/{1}/", False), ("https://a.io/b/", False)),
    ],
)
def test_which_targets_depend_on_their_source(text: str, depends: bool) -> None:  # noqa: FBT001
    assert depends_on_source(text) == depends


@pytest.mark.parametrize(
    ("text", "source", "flatten", "completed"),
    [
        ("r.io/m/", "quay.io/a/b/c:1", None, "r.io/m/a/b/c"),
        ("r.io/m/", "quay.io/a/b/c:1", "-", "r.io/m/a-b-c"),
        ("r.io/{repository}/x", "quay.io/a/b/c:1", "__", "r.io/a__b__c/x"),
        ("r.io/{name}:{tag}", "quay.io/a/b/c:1", "-", "r.io/c:{tag}"),
        ("r.io/{registry}/{name}/", "Quay.io:5000/a/b", None, "r.io/quay.io-5000/b/a/b"),
        ("r.io/{registry}/x", "[fe80::1]:5000/a/b", None, "r.io/fe80-1-5000/x"),
        ("r.io/{registry}{registry}", "a-b.io/a/b", None, "r.io/a-b.ioa-b.io"),
        ("r.io/{name}", "busybox", None, "r.io/busybox"),
    ],
)
def test_all_but_the_tag_is_replaced(text: str, source: str, flatten: str | None, completed: str) -> None:
    assert complete_target(text, parse(source), flatten) == completed


def test_a_host_with_capital_letters_becomes_a_path() -> None:
    assert complete_target("r.io/{registry}/{name}", Reference("REG:443", "a/b"), None) == "r.io/reg-443/b"


def test_the_tag_comes_last() -> None:
    assert str(with_tag("r.io/{tag}/app:v{tag}", parse("a.io/app:1"))) == "r.io/1/app:v1"
    assert str(with_tag("r.io/app", parse("a.io/app:1"))) == "r.io/app"
    with pytest.raises(ValueError, match="is not an image reference"):
        with_tag("r.io/{tag}/app", parse("a.io/app:V1"))
    with pytest.raises(ValueError, match="has a tag that is not"):
        with_tag("r.io/app:{tag}", parse("a.io/app"))
