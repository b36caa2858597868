"""Shards: their union is the whole, each repository belongs to one of them, and a mistake is said at the start."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageporter.config.files import Location
from imageporter.config.images_file import validate_images
from imageporter.config.settings import Settings, read_settings
from imageporter.config.sharding import rules_of, with_shard
from imageporter.model.image import Image
from imageporter.model.reference import Reference
from imageporter.model.rule import Rule, expand
from imageporter.model.shard import Shard, parse
from imageporter.system.errors import Problems

NAMES = st.sampled_from(
    [f"{host}/{team}/{name}" for host in ("a.io", "b.io:5000") for team in ("x", "yy") for name in "pqrstuv"]
)
TAGS = st.sampled_from(["", ":1", ":1,2", ":/^[12]/", ":latest"])
TARGETS = st.sampled_from(["c.io/m/", "c.io/{registry}/{name}", "d.io/flat/{name}:{tag}", "c.io/one", "d.io:5000/two/three"])
FILES = st.dictionaries(
    st.tuples(NAMES, TAGS).map("".join), st.one_of(TARGETS, st.lists(TARGETS, max_size=2, unique=True)), max_size=12
)
LISTED = ("1", "2", "3", "latest")


def images_of(rules: tuple[Rule, ...]) -> list[Image]:
    """What a pass over the rules would do, without what it would refuse."""
    return list(expand(rules, lambda _: LISTED, lambda *_: None))


@given(FILES, st.integers(1, 9))
def test_the_union_of_all_shards_is_the_whole_pass(content: dict[str, object], count: int) -> None:
    rules = validate_images(content, Location(Path("images.json")), Problems())
    shards = [rules_of(Shard(number, count), rules, Problems()) for number in range(1, count + 1)]
    assert Counter(rule for shard in shards for rule in shard) == Counter(rules)
    found = [images_of(shard) for shard in shards]
    assert sorted(map(str, (image for images in found for image in images))) == sorted(map(str, images_of(rules)))
    owners: dict[str, set[int]] = {}
    for number, images in enumerate(found):
        for image in images:
            owners.setdefault(image.target.repository, set()).add(number)
    assert all(len(shards_of) == 1 for shards_of in owners.values())


def test_the_shard_of_a_repository_never_changes() -> None:
    """The hash is part of the contract: shards of two versions may run at the same time."""
    repositories = [Reference("registry.example.com", f"mirror/app-{number}", "1") for number in range(8)]
    assert [next(n for n in range(1, 5) if Shard(n, 4).has(one)) for one in repositories] == FOURTHS


FOURTHS = [1, 1, 2, 4, 1, 2, 3, 2]


def test_shards_are_of_similar_size() -> None:
    counts = [sum(Shard(n, 8).has(Reference("r.io", f"m/{number}")) for number in range(8000)) for n in range(1, 9)]
    assert sum(counts) == 8000
    assert min(counts) > 850


@pytest.mark.parametrize(
    "text", ["", "1", "0/2", "3/2", "1/0", "a/b", "1/10001", "1/2/3", "-1/2", "1/٣", "000001/8", "1/000008"]
)
def test_what_is_no_shard(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("environ", "shard", "problems"),
    [
        ({}, None, []),
        ({"SHARD": " 2/8 "}, Shard(2, 8), []),
        ({"SHARDS": "8", "JOB_COMPLETION_INDEX": "0"}, Shard(1, 8), []),
        ({"JOB_COMPLETION_INDEX": "3"}, None, []),
        ({"SHARD": "9/8"}, None, ["SHARD: '9/8' is not a shard; write its number and how many there are, like 2/8"]),
        (
            {"SHARDS": "8"},
            None,
            ["JOB_COMPLETION_INDEX: is not set, but SHARDS is; run an Indexed Job, or set SHARD instead, like 2/8"],
        ),
        (
            {"SHARDS": "8", "JOB_COMPLETION_INDEX": "8"},
            None,
            ["JOB_COMPLETION_INDEX: is 8, but the last of 8 shards is 7; set SHARDS to the Job's completions"],
        ),
        ({"SHARDS": "8", "SHARD": "1/8"}, Shard(1, 8), ["SHARDS: is set, and so is SHARD; set one or the other"]),
        ({"SHARDS": "0"}, None, ["SHARDS: '0' is not a whole number from 1 to 10000"]),
    ],
)
def test_settings(environ: dict[str, str], shard: Shard | None, problems: list[str]) -> None:
    found = Problems()
    settings = with_shard(read_settings({}, found, environ), found)
    assert (settings.shard, list(found)) == (shard, problems)


def test_a_repository_that_only_the_tag_names(tmp_path: Path) -> None:
    rules = validate_images(
        {"a.io/xx": "r.io:5000/m/{tag}/{name}", "a.io/yy": "r.io:5000/m/{name}:v{tag}"}, Location(tmp_path), Problems()
    )
    problems = Problems()
    kept = [rules_of(Shard(number, 2), rules, problems) for number in (1, 2)]
    assert sum(map(len, kept)) == 1
    assert next(iter(problems)) == (
        "[\"a.io/xx\"]: 'a.io/xx' -> 'r.io:5000/m/{tag}/{name}' has {tag} in the target's repository, which a shard must know "
        "before it lists the tags; name the repository"
    )


def test_the_directory_of_a_shard() -> None:
    settings = Settings(data_dir=Path("/data"), shard=Shard(2, 8))
    assert settings.state_dir == Path("/data/shard-2-of-8")
    assert Settings(data_dir=Path("/data")).state_dir == Path("/data")


@pytest.mark.parametrize("text", ["1/1", "8/8", "10000/10000", "00001/00008"])
def test_what_is_a_shard(text: str) -> None:
    number, _, count = text.partition("/")
    shard = Shard(int(number), int(count))
    assert parse(text) == shard
    assert parse(str(shard)) == shard
