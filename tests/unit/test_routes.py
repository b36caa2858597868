"""Where a push goes."""

from pathlib import Path
from typing import Any

import pytest

from imageporter.model import reference
from imageporter.model import rule
from imageporter.config.configuration import sync_file
from imageporter.config.files import Place
from imageporter.hook.routes import Routes


def routes(images: Any = (), reg: Any = ()) -> Routes:
    mistakes: list[str] = []
    known = rules.check(list(images) if isinstance(images, tuple) else images, Place(Path("images.json")), mistakes)
    rows = sync_file.check({"registry": {"reg": list(reg)}}, Place(Path("configs/sync.yaml")), mistakes, {}).rows
    assert mistakes == []
    return Routes(known, rows)


def targets(known: Routes, pushed: str) -> list[str]:
    found = known.of(reference.parse(pushed))
    assert {str(image.source) for image in found} <= {str(reference.parse(pushed))}
    return [str(image.target) for image in found]


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
        # one of several tags: which one it becomes, only the whole list can say, and which of them has the one
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
    assert targets(routes({source: target}), pushed) == expected


def test_rows_of_image_syncers_registry() -> None:
    reg = [
        {
            "sourceName": "a.example, b.example:5000",
            "namespace": "team,library",
            "destinationName": "c.example,d.example/mirror",
        },
        {"sourceName": "docker.io", "namespace": "library", "destinationName": "c.example"},
    ]
    known = routes(reg=reg)
    assert targets(known, "a.example/team/app:1") == ["c.example/team/app:1", "d.example/mirror/team/app:1"]
    assert targets(known, "b.example:5000/library/app:1") == ["c.example/library/app:1", "d.example/mirror/library/app:1"]
    assert targets(known, "a.example/team/deep/app:1") == ["c.example/team/deep/app:1", "d.example/mirror/team/deep/app:1"]
    assert targets(known, "busybox:1") == ["c.example/library/busybox:1"]
    for other in ("a.example/teams/app:1", "a.example/team:1", "e.example/team/app:1"):
        assert targets(known, other) == []


def test_a_row_leaves_a_rules_target_alone() -> None:
    reg = [{"sourceName": "a.example", "namespace": "team", "destinationName": "c.example"}]
    known = routes({"b.example/app:1": "c.example/team/app:1"}, reg)
    assert targets(known, "a.example/team/app:1") == []
    assert targets(known, "a.example/team/app:2") == ["c.example/team/app:2"]


def test_a_target_that_would_be_too_long_is_none() -> None:
    reg = [{"sourceName": "a.example", "namespace": "team", "destinationName": "c.example/a/longer/name"}]
    assert targets(routes(reg=reg), f"a.example/team/{'a' * 235}:1") == []


@pytest.mark.parametrize(
    ("minutes", "cron"),
    [
        (1, "*/1 * * * *"),
        (10, "*/10 * * * *"),
        (45, "*/30 * * * *"),
        (59, "*/30 * * * *"),
        (60, "0 */1 * * *"),
        (90, "0 */1 * * *"),
        (300, "0 */4 * * *"),
        (1440, "0 0 * * *"),
    ],
)
def test_an_interval_as_cron_can_say_it(minutes: int, cron: str) -> None:
    mistakes: list[str] = []
    found = sync_file.check({"sync": {"interval": minutes}}, Place(Path("sync.yaml")), mistakes, {})
    assert (found.values, mistakes) == ({"hook_cron": cron}, [])


def test_an_account_of_nothing_is_a_mistake() -> None:
    mistakes: list[str] = []
    data = {"auth": {"username": "u", "password": "$NOTHING"}}
    sync_file.check(data, Place(Path("sync.yaml")), mistakes, {"NOTHING": " "})
    assert mistakes == ["sync.yaml: auth.password: is empty; give it a value"]


def test_a_push_may_have_several_targets_each_once() -> None:
    reg = [{"sourceName": "a.example", "namespace": "team", "destinationName": "c.example,a.example"}]
    known = routes(
        {"a.example/team/app": ["b.example/app", "c.example/team/app"], "a.example/team/app:/1/": "e.example/app"}, reg
    )
    assert targets(known, "a.example/team/app:1") == ["b.example/app:1", "c.example/team/app:1", "e.example/app:1"]


def test_rows_that_are_wrong() -> None:
    mistakes: list[str] = []
    data = {
        "app": {"port": "http"},
        "auth": {"username": "$NOBODY", "password": 5},
        "registry": {"reg": [{"sourceName": "https://a.example", "namespace": "UP"}, "row"]},
        "sync": {"interval": 0},
    }
    sync_file.check(data, Place(Path("configs/sync.yaml")), mistakes, {})
    assert mistakes == [
        "configs/sync.yaml: app.port: is not a port; write one like 8080",
        "configs/sync.yaml: auth.password: must be a string, found a number; put it in quotes",
        "configs/sync.yaml: registry.reg[0].sourceName: 'https://a.example' is not a registry, or host/namespace",
        "configs/sync.yaml: registry.reg[0].namespace: 'UP' is not a namespace; "
        "write it in small letters, like library or team/app",
        "configs/sync.yaml: registry.reg[0].destinationName: is missing; add it",
        "configs/sync.yaml: registry.reg[1]: must be an object, found a string",
        "configs/sync.yaml: sync.interval: Input should be greater than or equal to 1",
    ]


def test_what_the_file_gives() -> None:
    mistakes: list[str] = []
    data = {
        "app": {"port": 9000},
        "auth": {"username": "me", "password": "${SECRET}"},
        "sync": {"routineNum": 2, "interval": 90},
    }
    found = sync_file.check(data, Place(Path("configs/sync.yaml")), mistakes, {"SECRET": "a-word"})
    assert mistakes == []
    assert "a-word" not in str(found)
    shown = {name: getattr(value, "get_secret_value", lambda value=value: value)() for name, value in found.values.items()}
    assert shown == {
        "jobs": 2,
        "hook_cron": "0 */1 * * *",
        "hook_listen": "0.0.0.0:9000",
        "hook_username": "me",
        "hook_password": "a-word",
    }
