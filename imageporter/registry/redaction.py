"""Redaction: secrets are masked before anything is logged, in every form in which a registry may echo them."""

import base64
import html
import json
import re
from urllib.parse import quote, quote_plus

SHORTEST_MASKED = 4


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
        encoded = {base64.b64encode(text.encode()).decode() for text in (password, f"{username}:{password}")}
        forms = {password, *escaped, *in_url, *encoded, html.escape(password), html.escape(password, quote=False)}
        secrets = {*self._secrets, *(form for form in forms if len(form) >= SHORTEST_MASKED)}
        # The longest first, because one password may begin like another.
        self._secrets = sorted(secrets, key=len, reverse=True)

    def mask(self, text: str) -> str:
        """Return `text` with every password replaced by `***`."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text
