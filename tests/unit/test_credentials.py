"""Credentials for crane: one private DOCKER_CONFIG for each set of accounts."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from imageporter.model.account import Account, Accounts
from imageporter.model.reference import Reference, parse
from imageporter.registry.credentials import CraneCredentials, registry_of
from imageporter.registry.errors import RegistryError

HUB = "https://index.docker.io/v1/"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode(errors="surrogateescape")).decode()


def logged_in(private: Path, *accounts: Account) -> CraneCredentials:
    """Return credentials after what `crane auth login` writes for each account that has a username."""
    credentials = CraneCredentials(private, Accounts({account.prefix: account for account in accounts}))
    for account in accounts:
        if account.username is not None:
            entry = {"auth": encoded(f"imageporter:{account.password}")}
            config = credentials.login_directory(account) / "config.json"
            assert json.loads(config.read_text()) == {"auths": {}}
            config.write_text(json.dumps({"auths": {account.host: entry}}))
    return credentials


def entries(credentials: CraneCredentials, *texts: str) -> Any:
    """Return what crane would read for a call on some images."""
    return json.loads((credentials.directory(*map(parse, texts)) / "config.json").read_text())["auths"]


def test_a_call_has_only_the_accounts_of_its_images(tmp_path: Path) -> None:
    credentials = logged_in(tmp_path, Account("a.io", "alice", "p:w"), Account("b.io", "bob", "x"))
    alice, bob = {"auth": encoded("alice:p:w")}, {"auth": encoded("bob:x")}
    assert entries(credentials, "a.io/app") == {"a.io": alice}
    assert entries(credentials, "a.io/app", "a.io/other") == {"a.io": alice}
    assert entries(credentials, "a.io/app", "b.io/app") == {"a.io": alice, "b.io": bob}
    assert entries(credentials, "c.io/app") == {}
    assert entries(credentials, "a.io/app", "c.io/app") == {"a.io": alice}
    a, b = Reference("a.io", "app"), Reference("b.io", "app")
    assert credentials.directory(a, b) == credentials.directory(b, a)


def test_two_accounts_of_one_registry_are_told_apart_by_the_repository(tmp_path: Path) -> None:
    accounts = (
        Account("a.io", "alice", "x"),
        Account("a.io/team", "team", "y"),
        Account("a.io/open", None, None, insecure=True),
    )
    credentials = logged_in(tmp_path, *accounts)
    alice, team = {"auth": encoded("alice:x")}, {"auth": encoded("team:y")}
    assert entries(credentials, "a.io/team/app") == {"a.io": team}
    assert entries(credentials, "a.io/team/app", "a.io/app") == {"a.io/team/app": team, "a.io/app": alice, "a.io": {}}
    assert entries(credentials, "a.io/open/app") == {"a.io": {}}
    assert entries(credentials, "a.io/open/app", "a.io/app") == {"a.io/open/app": {}, "a.io/app": alice, "a.io": {}}


def test_a_repository_without_account_beside_one_with_an_account_is_anonymous(tmp_path: Path) -> None:
    credentials = logged_in(tmp_path, Account("a.io/team", "team", "y"))
    team = {"auth": encoded("team:y")}
    assert entries(credentials, "a.io/team/app", "a.io/app") == {"a.io/team/app": team, "a.io/app": {}, "a.io": {}}


def test_docker_hub_has_names_of_its_own(tmp_path: Path) -> None:
    credentials = logged_in(tmp_path, Account("docker.io", "hub", "x"), Account("docker.io/team", "team", "y"))
    hub, team = {"auth": encoded("hub:x")}, {"auth": encoded("team:y")}
    assert entries(credentials, "busybox") == {HUB: hub}
    assert entries(credentials, "busybox", "team/app") == {
        "index.docker.io/library/busybox": hub,
        "index.docker.io/team/app": team,
        HUB: {},
    }
    assert [registry_of(parse(text)) for text in ("busybox", "a.io/app")] == ["index.docker.io", "a.io"]


def test_a_username_may_be_any_bytes(tmp_path: Path) -> None:
    credentials = logged_in(tmp_path, Account("a.io", "\udcff:ä", "x"))
    assert entries(credentials, "a.io/app") == {"a.io": {"auth": encoded("\udcff:ä:x")}}


def test_nobody_else_can_read_the_credentials(tmp_path: Path) -> None:
    credentials = logged_in(tmp_path, Account("a.io", "alice", "x"))
    directory = credentials.directory(Reference("a.io", "app"))
    assert directory.parent == tmp_path
    assert [path.name for path in directory.iterdir()] == ["config.json"]
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "config.json").stat().st_mode & 0o777 == 0o600


def test_a_login_is_read_once_and_a_directory_is_written_once(tmp_path: Path) -> None:
    account = Account("a.io", "alice", "x")
    credentials = logged_in(tmp_path, account)
    first = credentials.directory(Reference("a.io", "app"))
    (credentials.login_directory(account) / "config.json").write_text("gone")
    written = (first / "config.json").stat()
    assert credentials.directory(Reference("a.io", "other")) == first
    assert (first / "config.json").stat() == written


def test_a_directory_that_was_left_unfinished_is_finished(tmp_path: Path) -> None:
    credentials = CraneCredentials(tmp_path, Accounts({}))
    directory = credentials.directory(Reference("a.io", "app"))
    (directory / "config.json").rename(directory / "new")
    assert credentials.directory(Reference("a.io", "app")) == directory
    assert entries(credentials, "a.io/app") == {}


def test_credentials_without_room_are_an_error_of_the_directory(tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as caught:
        CraneCredentials(tmp_path / "gone", Accounts({})).directory(Reference("a.io", "app"))
    text = f"TMPDIR failed: {tmp_path}/gone cannot be written in: No such file or directory; make room there"
    assert str(caught.value) == text
