"""Which files are read: two files, one for both, or image-syncer's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from imageporter.config.configuration import (
    FOR_HOOK,
    Configuration,
    Parts,
    load_configuration,
    warn_of_misspelt_variables,
    watched_files,
)
from imageporter.config.settings import Secret, Settings
from imageporter.system import logs
from imageporter.system.errors import Problems

DEFAULTS = Settings()
ALL_PARTS = Parts()
ACCOUNT = {"quay.io": {"username": "a", "password": "b"}}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, content: Any) -> Path:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def load(settings: Settings = DEFAULTS, parts: Parts = ALL_PARTS) -> tuple[Configuration, list[str]]:
    problems = Problems()
    return load_configuration(settings, problems, parts), list(problems)


def rules(configuration: Configuration) -> list[str]:
    return [rule.text for rule in configuration.rules]


def test_two_files(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    write("images.json", {"aa": "bb"})
    configuration, problems = load()
    assert (rules(configuration), list(configuration.accounts), problems) == (["'aa' -> 'bb'"], [], [])
    assert "no accounts file found: all registries are accessed anonymously" in capsys.readouterr().out
    write("auth.json", ACCOUNT)
    configuration, _ = load()
    assert [account.prefix for account in configuration.accounts] == ["quay.io"]


@pytest.mark.parametrize(("settings", "level"), [(DEFAULTS, "INFO"), (Settings(scheduled=True), "DEBUG")])
def test_that_there_is_no_accounts_file_is_said_once(
    settings: Settings, level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("DEBUG")
    write("images.json", {})
    load(settings)
    assert f" {level: <7} no accounts file found: all registries are accessed anonymously" in capsys.readouterr().out


def test_an_empty_directory_in_place_of_the_accounts_file(capsys: pytest.CaptureFixture[str]) -> None:
    """As docker makes one, where the file is missing on the host."""
    logs.configure()
    write("images.json", {})
    Path("accounts.json").mkdir()
    configuration, problems = load()
    assert (list(configuration.accounts), problems) == ([], [])
    assert (
        "WARNING accounts.json: is an empty directory, so all registries are accessed anonymously; docker makes one where a "
        "mounted file is missing on the host: remove the directory there and put the file in its place, or leave out the mount"
    ) in capsys.readouterr().out
    write("auth.json", ACCOUNT)  # is not hidden by it
    assert [account.prefix for account in load()[0].accounts] == ["quay.io"]
    Path("auth.json").unlink()
    write("accounts.json/accounts.json", [])  # a directory with content is still an error
    assert load()[1][0].startswith("accounts.json: is a directory, not a file; ")


def test_a_file_that_is_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    write("images.json", {})
    write("config.json", {})
    load()
    assert "WARNING config.json is ignored, because there is images.json\n" in capsys.readouterr().out


def test_variables_that_look_like_ours(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    logs.configure()
    for name in ("JOB", "CROM", "HOOK_TOKENS"):
        monkeypatch.setenv(name, "1")
    warn_of_misspelt_variables(DEFAULTS)
    lines = [line[20:] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        f"WARNING {name} is not a variable of ImagePorter and is ignored; did you mean {similar}?"
        for name, similar in (("CROM", "CRON"), ("HOOK_TOKENS", "HOOK_TOKEN"), ("JOB", "JOBS"))
    ]
    warn_of_misspelt_variables(Settings(scheduled=True))
    assert capsys.readouterr().out == ""


def test_no_images_file_is_a_problem_and_so_is_a_named_one_that_is_missing() -> None:
    assert load()[1] == [f"images.json: not found in {Path.cwd()}; create it or correct the path"]
    settings = Settings(images_file=Path("/nowhere.json"), accounts_file=Path("/gone.yaml"))
    assert load(settings)[1] == [
        "/gone.yaml: not found; create it or correct the path",
        "/nowhere.json: not found; create it or correct the path",
    ]


def test_one_file_for_both() -> None:
    write("config.json", {"auth": ACCOUNT, "images": {"aa": "bb"}, "sync": {"routineNum": 9, "retryCount": 1}})
    configuration, problems = load()
    assert (rules(configuration), problems) == (["'aa' -> 'bb'"], [])
    assert [account.prefix for account in configuration.accounts] == ["quay.io"]
    assert (configuration.settings.jobs, configuration.settings.retries) == (9, 1)
    configuration, _ = load(Settings(jobs=2, given=frozenset({"jobs"})))
    assert configuration.settings.jobs == 2
    write("images.json", {"cc": "dd"})  # two files come first
    assert rules(load()[0]) == ["'cc' -> 'dd'"]
    assert rules(load(Settings(config_file=Path("config.json")))[0]) == ["'aa' -> 'bb'"]


def test_one_file_for_both_beside_another() -> None:
    config = write("config.json", {"auth": ACCOUNT, "images": {}})
    settings = Settings(config_file=config, images_file=Path("i.json"), accounts_file=Path("a.json"))
    reason = "is given beside config.json, which holds the same; give one or the other"
    assert load(settings)[1] == [f"IMAGES_FILE: 'i.json' {reason}", f"ACCOUNTS_FILE: 'a.json' {reason}"]


def test_accounts_beside_a_file_with_images_only() -> None:
    config = write("config.json", {"images": {}})
    write("accounts.json", ACCOUNT)
    assert [account.prefix for account in load(Settings(config_file=config))[0].accounts] == ["quay.io"]


def test_image_syncers_file(monkeypatch: pytest.MonkeyPatch) -> None:
    route = {"sourceName": "a.io", "namespace": "team", "destinationName": "b.io"}
    content = {"app": {"port": 9000}, "auth": {"username": "u", "password": "$WORD"}, "registry": {"reg": [route]}}
    write("configs/sync.yaml", content)
    configuration, problems = load()  # no images file is needed, nor the hook's account
    assert (problems, rules(configuration), len(configuration.routes)) == ([], [], 1)
    assert configuration.settings.hook_password is None
    assert load(parts=FOR_HOOK)[1] == [
        "configs/sync.yaml: auth.password: names WORD, which is not set; set it, or write $$ for a dollar sign"
    ]
    monkeypatch.setenv("WORD", "secret")
    settings = load(parts=FOR_HOOK)[0].settings
    assert (settings.hook_listen, settings.hook_username, settings.hook_password) == (
        "0.0.0.0:9000",
        Secret("u"),
        Secret("secret"),
    )
    as_config = load(Settings(config_file=Path("configs/sync.yaml")))[0]
    assert len(as_config.routes) == 1


def test_parts_that_are_not_needed_are_not_read() -> None:
    write("images.json", 3)
    write("accounts.json", 3)
    assert load(parts=Parts(images=False, accounts=False))[1] == []
    assert load(parts=FOR_HOOK)[1] == ["images.json: must be a list, found a number"]


def test_watched_files() -> None:
    paths = [str(path) for path in watched_files(Settings(images_file=Path("/x/i.json")))]
    assert paths[0] == "/x/i.json"
    assert {"config.yml", "images.json", "configs/sync.yaml"} < set(paths)
