"""The accounts file in both formats, and which account a reference gets."""

from pathlib import Path
from typing import Any

import pytest

from imageporter.config import accounts_file
from imageporter.config.files import Location
from imageporter.model.account import Account, Accounts
from imageporter.model.reference import parse
from imageporter.system.errors import Problems


def validate(data: Any, **environ: str) -> tuple[Accounts, list[str]]:
    problems = Problems()
    return accounts_file.validate_accounts(data, Location(Path("auth.json")), problems, environ), list(problems)


@pytest.mark.parametrize(
    ("image", "username"),
    [
        ("quay.io/coreos/etcd:1", "coreos"),
        ("quay.io/coreos", "coreos"),
        ("quay.io/coreos/deep/er/still:1", "deep"),
        ("quay.io/coreos/deeper:1", "coreos"),
        ("quay.io/coreos-x/etcd:1", "quay"),
        ("quay.io/other/etcd:1", "quay"),
        ("docker.io/library/busybox", "hub"),
        ("busybox", "hub"),
        ("ghcr.io/anything/else", None),
        ("quay.io:443/coreos/etcd", None),
    ],
)
def test_the_longest_prefix_wins_on_path_boundaries(image: str, username: str | None) -> None:
    keys = {"quay.io": "quay", "quay.io/coreos": "coreos", "quay.io/coreos/deep": "deep", "index.docker.io": "hub"}
    for order in (list(keys), list(reversed(keys))):
        accounts, problems = validate({key: {"username": keys[key], "password": "x"} for key in order})
        assert problems == []
        account = accounts.find(parse(image))
        assert (account.username if account else None) == username


def test_both_formats_give_the_same_accounts() -> None:
    as_map, _ = validate({"quay.io/coreos": {"username": "a", "password": "b", "insecure": True}})
    as_list, _ = validate([{"registry": "quay.io/coreos", "username": "a", "password": "b", "insecure": True}])
    assert list(as_map) == list(as_list)
    assert (as_map.is_map, as_list.is_map, as_map.file) == (True, False, "auth.json")
    only_insecure, problems = validate({"nas.example.com:5000": {"insecure": True}})
    assert problems == []
    assert [(account.username, account.insecure) for account in only_insecure] == [(None, True)]


def test_variables(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    data = {
        "a.io": {"username": "$USER_A", "password": "${PASS_A}"},
        "b.io": {"username": "me", "password": "$$5 or $6, $$$PASS_B"},
    }
    accounts, problems = validate(data, USER_A="alice", PASS_A="s3cret", PASS_B_FILE=str(secret))
    assert problems == []
    assert [(account.username, account.password) for account in accounts] == [
        ("alice", "s3cret"),
        ("me", "$5 or $6, $from a file"),
    ]


@pytest.mark.parametrize(
    ("password", "environ", "problem"),
    [
        ("$GONE", {}, "names GONE, which is not set; set it, or write $$ for a dollar sign"),
        ("${GONE}", {}, "names GONE, which is not set; set it, or write $$ for a dollar sign"),
        ("x${GONE}", {}, "names a variable, which is not set; set it, or write $$ for a dollar sign"),
        # they may be, or hold, a password
        ("$Gone", {}, "names a variable, which is not set; set it, or write $$ for a dollar sign"),
        ("${gone}", {}, "names a variable, which is not set; set it, or write $$ for a dollar sign"),
        ("pa$word", {}, "names a variable, which is not set; set it, or write $$ for a dollar sign"),
        ("$EMPTY", {"EMPTY": ""}, "is empty; give a password, or remove the account"),
        ("$TWO", {"TWO": "a", "TWO_FILE": "b"}, "names TWO, but TWO and TWO_FILE are both set; remove one"),
        ("$NO", {"NO_FILE": "/nowhere"}, "names NO, but the file in NO_FILE cannot be read; correct it"),
        ("$LINES", {"LINES": "a\nb"}, "has a line break or another control character in it; remove it"),
    ],
)
def test_variables_that_cannot_be_used(password: str, environ: dict[str, str], problem: str) -> None:
    _, problems = validate({"quay.io/coreos": {"username": "a", "password": password}}, **environ)
    assert problems == [f'auth.json: ["quay.io/coreos"].password: {problem}']
    _, problems = validate([{"registry": "quay.io", "username": "a", "password": password}], **environ)
    assert problems == [f"auth.json: [0].password: {problem}"]


def test_problems() -> None:
    _, problems = validate(
        {
            "quay.io": {"username": "a"},
            "docker.io": {"username": "a", "password": "b"},
            "index.docker.io": {"username": "a", "password": "b"},
            "ghcr.io": {},
            "nas:5000": {"insecure": "yes"},
        }
    )
    assert problems == [
        'auth.json: ["quay.io"].password: is missing; add it',
        'auth.json: ["index.docker.io"]: docker.io has an account at ["docker.io"] already; keep one',
        'auth.json: ["ghcr.io"].username: is missing; add it',
        'auth.json: ["ghcr.io"].password: is missing; add it',
        'auth.json: ["nas:5000"].insecure: must be a boolean, found a string; write true or false',
    ]
    _, problems = validate({"not a registry": {"username": "secret-key", "password": "b"}})
    assert problems == ["auth.json: is not a registry; write its host, like docker.io or localhost:5000, or host/namespace"]


def test_no_repr_shows_a_password() -> None:
    assert "hunter2" not in repr(Account("quay.io", "me", "hunter2"))


def test_insecure_is_looked_up_like_an_account() -> None:
    accounts, _ = validate({"nas:5000": {"insecure": True}, "nas:5000/team": {"username": "a", "password": "b"}})
    assert [accounts.is_insecure(parse(text)) for text in ("nas:5000/app", "nas:5000/team/app", "quay.io/aa")] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("accounts", "advice"),
    [
        (Accounts({}), 'write [{"registry": "nas:5000", "insecure": true}] into accounts.json'),
        (Accounts({}, "auth.json"), 'add {"registry": "nas:5000", "insecure": true} to the list in auth.json'),
        (Accounts({}, "auth.json", is_map=True), 'add "nas:5000": {"insecure": true} to auth.json'),
        (
            Accounts({"nas:5000/team": Account("nas:5000/team", "me", "x")}, "auth.json", is_map=True),
            'add "insecure": true to the account of nas:5000/team in auth.json',
        ),
    ],
)
def test_what_makes_a_registry_insecure_depends_on_the_file(accounts: Accounts, advice: str) -> None:
    assert accounts.insecure_advice(parse("nas:5000/team/app")) == advice


def test_an_account_is_for_a_host_and_secure_unless_it_says_otherwise() -> None:
    account = Account("nas:5000/team/deep", "me", "x")
    assert (account.host, account.insecure) == ("nas:5000", False)
    assert Account("nas:5000", "me", "x").host == "nas:5000"
