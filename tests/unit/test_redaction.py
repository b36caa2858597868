"""Redaction: a password is masked in every form in which a registry may echo it."""

import base64
import json
from urllib.parse import quote

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
