"""image-syncer's own file, configs/sync.yaml."""

from pathlib import Path

import pytest

from imageporter.config.files import Location
from imageporter.config.settings import Secret
from imageporter.config.sync_file import is_sync_file, validate_sync_file
from imageporter.system.errors import Problems


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
def test_an_interval_becomes_a_schedule(minutes: int, cron: str) -> None:
    problems = Problems()
    found = validate_sync_file({"sync": {"interval": minutes}}, Location(Path("sync.yaml")), problems, {})
    assert (found.values, list(problems)) == ({"hook_cron": cron}, [])


def test_an_empty_secret_is_a_problem() -> None:
    problems = Problems()
    data = {"auth": {"username": "u", "password": "$NOTHING"}}
    validate_sync_file(data, Location(Path("sync.yaml")), problems, {"NOTHING": " "})
    assert list(problems) == ["sync.yaml: auth.password: is empty; give it a value"]


def test_every_problem_of_the_file() -> None:
    problems = Problems()
    data = {
        "app": {"port": "http"},
        "auth": {"username": "$NOBODY", "password": 5},
        "registry": {"reg": [{"sourceName": "https://a.example", "namespace": "UP"}, "row"]},
        "sync": {"interval": 0},
    }
    validate_sync_file(data, Location(Path("configs/sync.yaml")), problems, {})
    assert list(problems) == [
        "configs/sync.yaml: app.port: is not a port; write one like 8080",
        "configs/sync.yaml: auth.password: must be a string, found a number; put it in quotes",
        "configs/sync.yaml: registry.reg[0].sourceName: 'https://a.example' is not a registry, or host/namespace",
        "configs/sync.yaml: registry.reg[0].namespace: 'UP' is not a namespace; "
        "write it in small letters, like library or team/app",
        "configs/sync.yaml: registry.reg[0].destinationName: is missing; add it",
        "configs/sync.yaml: registry.reg[1]: must be an object, found a string",
        "configs/sync.yaml: sync.interval: must be at least 1",
    ]


def test_the_values_of_the_file() -> None:
    problems = Problems()
    data = {
        "app": {"port": 9000},
        "auth": {"username": "me", "password": "${SECRET}"},
        "sync": {"routineNum": 2, "interval": 90},
    }
    found = validate_sync_file(data, Location(Path("configs/sync.yaml")), problems, {"SECRET": "a-word"})
    assert list(problems) == []
    assert "a-word" not in str(found)
    assert found.values == {
        "jobs": 2,
        "hook_cron": "0 */1 * * *",
        "hook_listen": "0.0.0.0:9000",
        "hook_username": Secret("me"),
        "hook_password": Secret("a-word"),
    }


def test_keys_in_any_case() -> None:
    """image-syncer's own example has `Username` and `Password`."""
    problems = Problems()
    data = {
        "auth": {"Username": "me", "PASSWORD": "a-word"},
        "Registry": {"REG": [{"sourcename": "a.example", "NameSpace": "team", "DestinationName": "b.example"}]},
        "sync": {"routinenum": 3},
    }
    assert is_sync_file(data)
    found = validate_sync_file(data, Location(Path("configs/sync.yaml")), problems, {})
    assert list(problems) == []
    assert found.values == {"jobs": 3, "hook_username": Secret("me"), "hook_password": Secret("a-word")}
    assert [route.location for route in found.routes] == ["registry.reg[0]"]


def test_keys_that_differ_in_their_capitals_only() -> None:
    problems = Problems()
    data = {"auth": {"Username": "me", "username": "you"}, "registry": {"reg": []}, "Registry": {"reg": []}}
    validate_sync_file(data, Location(Path("configs/sync.yaml")), problems, {})
    assert list(problems) == [
        "configs/sync.yaml: auth.username: stands twice, with other capitals; keep one",
        "configs/sync.yaml: registry: stands twice, with other capitals; keep one",
    ]
