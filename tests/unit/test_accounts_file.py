"""The accounts of both formats, and which one a reference gets."""

from pathlib import Path
from typing import Any

import pytest

from imageporter.config.configuration import accounts_file
from imageporter.config.accounts_file import Accounts
from imageporter.config.files import Place
from imageporter.model.reference import parse


def checked(data: Any, **environ: str) -> tuple[Accounts, list[str]]:
    mistakes: list[str] = []
    return accounts.check(data, Place(Path("auth.json")), mistakes, environ), mistakes


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
def test_the_longest_prefix_wins_on_path_borders(image: str, username: str | None) -> None:
    keys = {"quay.io": "quay", "quay.io/coreos": "coreos", "quay.io/coreos/deep": "deep", "index.docker.io": "hub"}
    for order in (list(keys), list(reversed(keys))):
        found, mistakes = checked({key: {"username": keys[key], "password": "x"} for key in order})
        assert mistakes == []
        account = found.of(parse(image))
        assert (account.username if account else None) == username


def test_both_formats_say_the_same() -> None:
    as_map, _ = checked({"quay.io/coreos": {"username": "a", "password": "b", "insecure": True}})
    as_list, _ = checked([{"registry": "quay.io/coreos", "username": "a", "password": "b", "insecure": True}])
    assert as_map == as_list
    only_insecure, mistakes = checked({"nas.example.com:5000": {"insecure": True}})
    assert mistakes == []
    assert [(one.username, one.insecure) for one in only_insecure] == [(None, True)]


def test_variables(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    data = {
        "a.io": {"username": "$USER_A", "password": "${PASS_A}"},
        "b.io": {"username": "me", "password": "$$5 or $6, $$$PASS_B"},
    }
    found, mistakes = checked(data, USER_A="alice", PASS_A="s3cret", PASS_B_FILE=str(secret))
    assert mistakes == []
    assert [(one.username, one.password) for one in found] == [("alice", "s3cret"), ("me", "$5 or $6, $from a file")]


@pytest.mark.parametrize(
    ("password", "environ", "words"),
    [
        ("$GONE", {}, "names GONE, which is not set; set it, or write $$ for a dollar sign"),
        ("${GONE}", {}, "names GONE, which is not set; set it, or write $$ for a dollar sign"),
        ("x${GONE}", {}, "names a variable, which is not set; set it, or write $$ for a dollar sign"),
        # they may be, or hold, a password
        ("$Gone", {}, "names a variable, which is not set; set it, or write $$ for a dollar sign"),
        ("${gone}", {}, "names gone, which is not set; set it, or write $$ for a dollar sign"),
        ("pa$word", {}, "names a variable, which is not set; set it, or write $$ for a dollar sign"),
        ("$EMPTY", {"EMPTY": ""}, "is empty; give a password, or remove the account"),
        ("$TWO", {"TWO": "a", "TWO_FILE": "b"}, "names TWO, but TWO and TWO_FILE are both set; remove one"),
        ("$NO", {"NO_FILE": "/nowhere"}, "names NO, but the file in NO_FILE cannot be read; correct it"),
        ("$LINES", {"LINES": "a\nb"}, "has a line break or another control character in it; remove it"),
    ],
)
def test_variables_that_are_not_there(password: str, environ: dict[str, str], words: str) -> None:
    _, mistakes = checked({"quay.io/coreos": {"username": "a", "password": password}}, **environ)
    assert mistakes == [f'auth.json: ["quay.io/coreos"].password: {words}']
    _, mistakes = checked([{"registry": "quay.io", "username": "a", "password": password}], **environ)
    assert mistakes == [f"auth.json: [0].password: {words}"]


def test_mistakes() -> None:
    _, mistakes = checked(
        {
            "quay.io": {"username": "a"},
            "docker.io": {"username": "a", "password": "b"},
            "index.docker.io": {"username": "a", "password": "b"},
            "ghcr.io": {},
            "nas:5000": {"insecure": "yes"},
        }
    )
    assert mistakes == [
        'auth.json: ["quay.io"].password: is missing; add it',
        'auth.json: ["index.docker.io"]: docker.io has an account at ["docker.io"] already; keep one',
        'auth.json: ["ghcr.io"].username: is missing; add it',
        'auth.json: ["ghcr.io"].password: is missing; add it',
        'auth.json: ["nas:5000"].insecure: must be a boolean, found a string',
    ]
    _, mistakes = checked({"not a registry": {"username": "secret-key", "password": "b"}})
    assert mistakes == ["auth.json: is not a registry; write its host, like docker.io or localhost:5000, or host/namespace"]
