"""Authentication of the hook's callers. tests/e2e/test_hook.py sends the same by HTTP."""

import base64
import hashlib
import hmac

import pytest

from imageporter.config.settings import Secret, Settings
from imageporter.hook.authentication import Authenticator, require_credentials
from imageporter.system.errors import Problems

ACCOUNT = Settings(hook_username=Secret("me"), hook_password=Secret("p:ss"))
TOKEN = Settings(hook_token=Secret("t0ken/é"))


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("text", "expected"), [("me:p:ss", True), ("me:p", False), ("you:p:ss", False), (":", False), ("", False)]
)
def test_basic_auth(text: str, expected: bool) -> None:  # noqa: FBT001
    assert Authenticator(ACCOUNT).authenticate(basic(text)) is expected
    assert not Authenticator(TOKEN).authenticate(basic(text))


@pytest.mark.parametrize("header", ["", "Basic", "Basic !", "Basic /w==", "Bearer", "Bearer ", "t0ken", "\udcff"])
def test_invalid_headers(header: str) -> None:
    for settings in (ACCOUNT, TOKEN):
        authenticator = Authenticator(settings)
        assert not authenticator.authenticate({"authorization": header})
        assert not authenticator.authenticate({"x-hook-token": header}, header)


def test_tokens() -> None:
    authenticator = Authenticator(TOKEN)
    assert authenticator.authenticate({"authorization": "t0ken/é"})
    assert authenticator.authenticate({"authorization": "Bearer t0ken/é"})
    assert authenticator.authenticate({"x-hook-token": "t0ken/é"} | basic("you:word"))
    assert authenticator.authenticate({}, "t0ken/é")
    assert not authenticator.authenticate({})
    assert not Authenticator(Settings()).authenticate({}, "")


def test_signatures() -> None:
    body = b"{}"
    signature = "sha256=" + hmac.new("t0ken/é".encode(), body, hashlib.sha256).hexdigest()
    headers = {"x-hub-signature-256": signature}
    assert Authenticator(TOKEN).authenticate_signature(body, headers)
    assert not Authenticator(TOKEN).authenticate_signature(body + b" ", headers)
    assert not Authenticator(ACCOUNT).authenticate_signature(body, headers)


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        (ACCOUNT, []),
        (TOKEN, []),
        (Settings(hook_username=Secret("me")), ["HOOK_PASSWORD: is not set, but HOOK_USERNAME is; set both"]),
        (
            Settings(hook_password=Secret("word"), hook_token=Secret("t")),
            ["HOOK_USERNAME: is not set, but HOOK_PASSWORD is; set both"],
        ),
        (
            Settings(),
            ["HOOK_USERNAME, HOOK_PASSWORD: are not set; set both (or HOOK_TOKEN), so that not everybody can call"],
        ),
    ],
)
def test_credentials_are_required(settings: Settings, problems: list[str]) -> None:
    found = Problems()
    require_credentials(settings, found)
    assert list(found) == problems


def test_an_unreadable_variable_is_reported_once() -> None:
    for name, settings in (
        ("HOOK_USERNAME", Settings(hook_password=Secret("word"))),
        ("HOOK_PASSWORD", Settings(hook_username=Secret("me"))),
    ):
        problems = Problems()
        problems.add(name, "cannot be read")
        require_credentials(settings, problems)
        assert list(problems) == [f"{name}: cannot be read"]
    problems = Problems()
    problems.add("HOOK_TOKEN", "cannot be read")
    require_credentials(Settings(), problems)
    assert list(problems) == ["HOOK_TOKEN: cannot be read"]
