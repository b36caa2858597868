"""Redaction: secrets are masked before anything is logged, in every form in which a registry may echo them."""

import base64
import html
import json
import re
from urllib.parse import quote, quote_plus

SHORTEST_MASKED = 4
_URL_SAFE = str.maketrans("+/", "-_")
# A word like `authentication` is no token.
_AUTHORIZATION = re.compile(
    r"\b(Basic|Bearer) (?!realm=)(?=[^\s\"',;]*[0-9=._+/-]|[^\s\"',;]{20})[^\s\"',;]{8,}", re.IGNORECASE
)
# A signed URL holds its signature in the query. No expression may read a text again for each of its letters: a registry
# chooses 64 KiB of it, and the pass waits.
_NAMES = "sig|token|key|cred|secret|auth|policy|passw"
_QUERY_VALUE = re.compile(
    rf"([?&][A-Za-z0-9_.~%-]{{0,100}}(?:{_NAMES})[A-Za-z0-9_.~%-]{{0,100}}=)[^&\s\"']*[^&\s\"':;,.]", re.IGNORECASE
)


class SecretMasker:
    """Masks the passwords that it was given."""

    def __init__(self) -> None:
        self._secrets: list[str] = []

    def add(self, username: str, password: str) -> None:
        """Mask `password` from now on: as it is, and as JSON, URLs, HTML and basic auth encode it."""
        escaped = {json.dumps(password)[1:-1], json.dumps(password, ensure_ascii=False)[1:-1]}
        # Go escapes these three in JSON as \\u003c
        escaped |= {re.sub("[<>&]", lambda sign: f"\\u{ord(sign[0]):04x}", text) for text in escaped}
        in_url = {quote(password), quote(password, safe=""), quote_plus(password)}
        in_url |= {re.sub("%..", lambda sign: sign[0].lower(), text) for text in in_url}
        encoded = set()
        for text in (password, f"{username}:{password}"):
            standard = base64.b64encode(text.encode()).decode()
            in_base64 = {standard, standard.translate(_URL_SAFE)}
            encoded |= in_base64 | {one.rstrip("=") for one in in_base64} | {text.encode().hex(), text.encode().hex().upper()}
        forms = {password, *escaped, *in_url, *encoded, html.escape(password), html.escape(password, quote=False)}
        secrets = {*self._secrets, *(form for form in forms if len(form) >= SHORTEST_MASKED)}
        # The longest first, because one password may begin like another.
        self._secrets = sorted(secrets, key=len, reverse=True)

    def mask(self, text: str) -> str:
        """Return `text` with every password replaced by `***`, and every token and signature that a registry echoes."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = _AUTHORIZATION.sub(r"\1 ***", text)
        return _QUERY_VALUE.sub(r"\1***", text)
