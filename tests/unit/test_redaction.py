"""Redaction: a password is masked in every form in which a registry may echo it."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest

from imageporter.registry.redaction import SecretMasker

PASSWORD = 'hunter2 "&" <hunter2>??>>'


@pytest.fixture
def masker() -> SecretMasker:
    masker = SecretMasker()
    masker.add("bob", PASSWORD)
    return masker


@pytest.mark.parametrize("text", [PASSWORD, f"bob:{PASSWORD}"])
def test_every_encoding_of_a_password(masker: SecretMasker, text: str) -> None:
    standard = base64.b64encode(text.encode()).decode()
    url_safe = base64.urlsafe_b64encode(text.encode()).decode()
    forms = [standard, url_safe, standard.rstrip("="), url_safe.rstrip("="), text.encode().hex(), text.encode().hex().upper()]
    for form in (*forms, *([quote(text, safe=""), json.dumps(text)[1:-1]] if text == PASSWORD else [])):
        assert masker.mask(f"found <<{form}>> here") == "found <<***>> here"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer eyJhbGci.x.y, refused", "Authorization: Bearer ***, refused"),
        ("basic Ym9iOnNlY3JldA== is wrong", "basic *** is wrong"),
        (
            "https://a.io/b?X-Amz-Signature=abc&scope=repository:a:pull",
            "https://a.io/b?X-Amz-Signature=***&scope=repository:a:pull",
        ),
        ('Www-Authenticate: Bearer realm="https://a.io/token"', 'Www-Authenticate: Bearer realm="https://a.io/token"'),
        ("bearer of bad news", "bearer of bad news"),
        ("Basic authentication required", "Basic authentication required"),
        ("https://help.example/kb?article=4711", "https://help.example/kb?article=4711"),
    ],
)
def test_tokens_and_signatures_that_nobody_has_told_it(masker: SecretMasker, text: str, masked: str) -> None:
    assert masker.mask(text) == masked


AWKWARD = 'Pä/ss "w" <x>&\'y'
IN_JSON = r"Pä/ss \"w\" <x>&'y"
IN_ASCII_JSON = r"P\u00e4/ss \"w\" <x>&'y"
IN_GO_JSON = r"Pä/ss \"w\" \u003cx\u003e\u0026'y"


@pytest.mark.parametrize(
    "form",
    [
        AWKWARD,
        IN_JSON,
        IN_ASCII_JSON,
        IN_GO_JSON,
        r"P\u00e4/ss \"w\" \u003cx\u003e\u0026'y",
        quote(AWKWARD),
        quote(AWKWARD, safe=""),
        quote_plus(AWKWARD),
        "P%c3%a4/ss%20%22w%22%20%3cx%3e%26%27y",
        "P%c3%a4%2fss%20%22w%22%20%3cx%3e%26%27y",
        "P%c3%a4%2fss+%22w%22+%3cx%3e%26%27y",
        html.escape(AWKWARD),
        html.escape(AWKWARD, quote=False),
    ],
)
def test_each_way_to_write_an_awkward_password(form: str) -> None:
    masker = SecretMasker()
    masker.add("bob", AWKWARD)
    assert masker.mask(f"found <<{form}>> here") == "found <<***>> here"


def test_every_password_is_masked_and_the_longer_one_first() -> None:
    masker = SecretMasker()
    for password in ("secret", "secret-and-more", "four", "abc"):
        masker.add("bob", password)
    assert masker.mask("secret secret-and-more four abc") == "*** *** *** abc"


@pytest.mark.parametrize("sign", "09=._+/-")
def test_one_digit_or_sign_makes_a_token_of_eight_letters(masker: SecretMasker, sign: str) -> None:
    for token in (f"{sign}abcdefg", f"abcdefg{sign}", f"abcd{sign}efg"):
        assert masker.mask(f"Bearer {token}") == "Bearer ***"
        assert masker.mask(f"Bearer {token[1:]}") == f"Bearer {token[1:]}"


@pytest.mark.parametrize("end", [" ", '"', "'", ",", ";"])
def test_a_token_ends_where_its_text_ends(masker: SecretMasker, end: str) -> None:
    assert masker.mask(f"Basic abcdefg={end}0") == f"Basic ***{end}0"
    assert masker.mask(f"Basic abcdefghi{end}jklmnopqrst0") == f"Basic abcdefghi{end}jklmnopqrst0"
    if end not in ",;":
        assert masker.mask(f"https://a.io/b?token=abc{end}d") == f"https://a.io/b?token=***{end}d"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Bearer abcdefghijklmnopqrst", "Bearer ***"),
        ("Bearer abcdefghijklmnopqrs", "Bearer abcdefghijklmnopqrs"),
        ("Bearer realm=https://a.io/token", "Bearer realm=https://a.io/token"),
        ("acidBasic abcdefg=", "acidBasic abcdefg="),
    ],
)
def test_what_is_a_token(masker: SecretMasker, text: str, masked: str) -> None:
    assert masker.mask(text) == masked


@pytest.mark.parametrize(
    "name", ["sig", "token", "key", "cred", "secret", "auth", "policy", "passw", "X-Amz_9.~%2dTOKEN-Z_9.~%a"]
)
def test_a_query_with_a_telling_name(masker: SecretMasker, name: str) -> None:
    for mark in "?&":
        assert masker.mask(f"https://a.io/b{mark}{name}=ab.c&d=e") == f"https://a.io/b{mark}{name}=***&d=e"
    assert masker.mask(f"https://a.io/{name}=abc") == f"https://a.io/{name}=abc"


@pytest.mark.parametrize("end", ":;,.")
def test_punctuation_after_a_url_stays(masker: SecretMasker, end: str) -> None:
    assert masker.mask(f"GET https://a.io/b?token=a{end}b{end} refused") == f"GET https://a.io/b?token=***{end} refused"
