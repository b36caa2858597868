"""Rows of other programs' configurations: what each of their options becomes."""

import json
from typing import Any

import pytest

from imageporter.config.list_from import list_images
from imageporter.system.errors import UserError

REGSYNC = {"source": "quay.io/acme/app", "target": "r.example.com/app"}


def listed(data: Any, target: str | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    return list_images(json.dumps(data), "file", target)


@pytest.mark.parametrize(
    ("options", "row"),
    [
        ({"type": "image", "platform": "linux/amd64"}, {"platforms": "linux/amd64"}),
        ({"type": "image", "platform": "linux/amd64", "platforms": ["linux/arm64"]}, {"platforms": "linux/amd64"}),
        ({"type": "repository", "tags": {"deny": ["a|b"]}}, {"tags": {"exclude": ["/^a|b$/"]}}),
        ({"type": "repository", "digestTags": True, "fastCheck": True}, {"tags": {}, "referrers": True}),
        ({"type": "image", "tags": {"allow": ["1"]}, "interval": "1h", "ratelimit": {"min": 9}}, {}),
    ],
)
def test_options_of_regsync(options: dict[str, Any], row: dict[str, Any]) -> None:
    assert listed({"sync": [REGSYNC | options]}) == ([REGSYNC | row], [])


@pytest.mark.parametrize("key", ["backup", "hooks", "mediaTypes", "includeExternal", "referrerFilters"])
def test_options_of_regsync_without_a_counterpart(key: str) -> None:
    rows, lines = listed({"defaults": {key: ["x"]}, "sync": [REGSYNC | {"type": "image", key: ["x"]}]})
    assert rows == [REGSYNC]
    assert lines == [f"{at}.{key}: is not converted; the row is without it" for at in ("defaults", "sync[0]")]


@pytest.mark.parametrize("key", ["parallel", "interval", "fastCheck", "forceRecursive", "blobLimit", "cacheTime"])
def test_timing_of_regsync_is_no_part_of_a_row(key: str) -> None:
    assert listed({"defaults": {key: 1}, "sync": [REGSYNC | {"type": "image"}]}) == ([REGSYNC], [])


@pytest.mark.parametrize(("pattern", "row"), [("1.*", "/^1.*$/"), ("^a$", "/^a$/"), (" a|b ", "/^a|b$/"), ("^v1", "/^v1$/")])
def test_patterns_of_dregsy_match_the_whole_tag(pattern: str, row: str) -> None:
    mapping = {"from": "acme/app", "tags": [f"regex:{pattern}"]}
    task = {"source": {"registry": "a.example.com"}, "target": {"registry": "b.example.com"}, "mappings": [mapping]}
    rows, lines = listed({"tasks": [task]})
    assert (rows[0]["tags"], lines) == ({"include": [row]}, [])


def test_a_map_of_image_syncer_with_short_names() -> None:
    images = {"redis": "r.example.com/redis", "quay.io/acme/app:1": ["r.example.com/app"]}
    assert listed(images) == (
        [
            {"source": "redis", "target": "r.example.com/redis", "tags": {}},
            {"source": "quay.io/acme/app:1", "target": ["r.example.com/app:1"]},
        ],
        [],
    )


def test_a_map_with_nothing_but_short_names() -> None:
    assert listed({"redis": "r.example.com/redis"})[1] == []
    assert listed({"redis": "app"})[0] == []


def test_a_pattern_of_skopeo_that_is_missing() -> None:
    rows, reasons = listed({"r.example.com": {"images-by-tag-regex": {"app": None}}}, "nas.example.com/")
    assert (rows, reasons) == ([], ['["r.example.com"]["images-by-tag-regex"].app: has no pattern'])


def test_the_name_of_the_source_as_the_target() -> None:
    """As `skopeo sync` names targets without --scoped."""
    target = "r.example.com/mirror/{name}"
    skopeo = {"docker.io": {"images": {"library/redis": ["8"]}}}
    row = {"source": "docker.io/library/redis", "target": target, "tags": {"include": ["8"]}}
    assert listed(skopeo, target) == ([row], [])


def test_two_sources_of_the_same_name() -> None:
    skopeo = {"docker.io": {"images": {"library/redis": ["8"], "bitnami/redis": ["8"]}}}
    rows, lines = listed(skopeo, "r.example.com/{name}")
    assert len(rows) == 1
    where = '["docker.io"].images'
    text = f'r.example.com/redis:8 is the target of docker.io/library/redis:8 at {where}["library/redis"] already'
    assert lines == [f'{where}["bitnami/redis"]: {text}; write a row with another target by hand']


def test_a_target_is_needed() -> None:
    with pytest.raises(UserError, match="--target: is missing"):
        listed({"docker.io": {"images": {"library/redis": ["8"]}}})
