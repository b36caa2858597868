"""Routes: which images a push asks for."""

import time
from pathlib import Path
from typing import Any

import pytest

from imageporter.config import images_file, sync_file
from imageporter.config.files import Location
from imageporter.hook.routes import Routes
from imageporter.model import reference
from imageporter.system.errors import Problems


def make_routes(images: Any = None, reg: Any = ()) -> Routes:
    problems = Problems()
    rules = images_file.validate_images(images or {}, Location(Path("images.json")), problems)
    content = {"registry": {"reg": list(reg)}}
    push_routes = sync_file.validate_sync_file(content, Location(Path("configs/sync.yaml")), problems, {}).routes
    assert list(problems) == []
    return Routes(rules, push_routes)


def targets(routes: Routes, pushed: str) -> list[str]:
    images = routes.images(reference.parse(pushed))
    assert {str(image.source) for image in images} <= {str(reference.parse(pushed))}
    return [str(image.target) for image in images]


@pytest.mark.parametrize(
    ("source", "target", "pushed", "expected"),
    [
        ("a.example/app", "b.example/app", "a.example/app:1", ["b.example/app:1"]),
        ("a.example/app:1", "b.example/app", "a.example/app:1", ["b.example/app:1"]),
        ("a.example/app:1", "b.example/app", "a.example/app:2", []),
        ("a.example/app:1,2", "b.example/app:x,y", "a.example/app:2", ["b.example/app:y"]),
        ("a.example/app:/^v[0-9]+$/", "b.example/app", "a.example/app:v12", ["b.example/app:v12"]),
        ("a.example/app:/^v[0-9]+$/", "b.example/app", "a.example/app:latest", []),
        ("a.example/app:1", ["b.example/app", "c.example/xx:one"], "a.example/app:1", ["b.example/app:1", "c.example/xx:one"]),
        # a rule that renames tags: only a full pass, which lists them all, can pair them with the new names
        ("a.example/app:/^v/", "b.example/app:latest", "a.example/app:v1", []),
        ("a.example/app", "b.example/app", f"a.example/app:sha256-{'0' * 64}.sig", []),
        ("a.example/app:/^v/", "b.example/app:x,y", "a.example/app:v1", []),
        ("a.example/app@sha256:" + "0" * 64, "b.example/app:1", "a.example/app:1", []),
        ("a.example/app", "b.example/app", "a.example/apps:1", []),
        ("a.example/app", "b.example/app", "b.example/app:1", []),
        ("busybox", "b.example/busybox", "docker.io/library/busybox:1", ["b.example/busybox:1"]),
    ],
)
def test_rules(source: str, target: Any, pushed: str, expected: list[str]) -> None:
    assert targets(make_routes({source: target}), pushed) == expected


def test_rows_of_image_syncers_registry() -> None:
    reg = [
        {
            "sourceName": "a.example, b.example:5000",
            "namespace": "team,library",
            "destinationName": "c.example,d.example/mirror",
        },
        {"sourceName": "docker.io", "namespace": "library", "destinationName": "c.example"},
    ]
    routes = make_routes(reg=reg)
    assert targets(routes, "a.example/team/app:1") == ["c.example/team/app:1", "d.example/mirror/team/app:1"]
    assert targets(routes, "b.example:5000/library/app:1") == ["c.example/library/app:1", "d.example/mirror/library/app:1"]
    assert targets(routes, "a.example/team/deep/app:1") == ["c.example/team/deep/app:1", "d.example/mirror/team/deep/app:1"]
    assert targets(routes, "busybox:1") == ["c.example/library/busybox:1"]
    for other in ("a.example/teams/app:1", "a.example/team:1", "e.example/team/app:1"):
        assert targets(routes, other) == []


def test_a_row_leaves_a_rules_target_alone() -> None:
    reg = [{"sourceName": "a.example", "namespace": "team", "destinationName": "c.example"}]
    routes = make_routes({"b.example/app:1": "c.example/team/app:1"}, reg)
    assert targets(routes, "a.example/team/app:1") == []
    assert targets(routes, "a.example/team/app:2") == ["c.example/team/app:2"]


def test_a_target_that_would_be_too_long_is_left_out() -> None:
    reg = [{"sourceName": "a.example", "namespace": "team", "destinationName": "c.example/a/longer/name"}]
    assert targets(make_routes(reg=reg), f"a.example/team/{'a' * 235}:1") == []


def test_a_push_may_have_several_targets_each_once() -> None:
    reg = [{"sourceName": "a.example", "namespace": "team", "destinationName": "c.example,a.example"}]
    routes = make_routes(
        {"a.example/team/app": ["b.example/app", "c.example/team/app"], "a.example/team/app:/1/": "e.example/app"}, reg
    )
    assert targets(routes, "a.example/team/app:1") == ["b.example/app:1", "c.example/team/app:1", "e.example/app:1"]


def test_patterns_run_in_linear_time() -> None:
    """A backtracking engine would never return from this."""
    routes = make_routes({"a.example/app:/^(a+)+$/": "b.example/app"})
    began = time.monotonic()
    assert targets(routes, f"a.example/app:{'a' * 127}b") == []
    assert time.monotonic() - began < 1


def test_a_rule_that_renames_defers_the_push() -> None:
    routes = make_routes({"a.example/app:/^v/": "b.example/app:latest"})
    rule = routes.deferring_rule(reference.parse("a.example/app:v1"))
    assert rule is not None
    assert rule.text == "'a.example/app:/^v/' -> 'b.example/app:latest'"
    assert routes.deferring_rule(reference.parse("a.example/app:w1")) is None
