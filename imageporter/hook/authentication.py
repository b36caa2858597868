"""Authentication of the hook's callers: basic auth, a token, or GitHub's signature."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from imageporter.config.settings import Secret, Settings
from imageporter.hook import webhooks
from imageporter.system.errors import Problems


def require_credentials(settings: Settings, problems: Problems) -> None:
    """Add a problem if `settings` hold neither an account nor a token, or half an account.

    A variable that cannot be read, and so has a problem already, counts as set.
    """
    unreadable = {line.partition(":")[0] for line in problems}
    account = {"HOOK_USERNAME": settings.hook_username, "HOOK_PASSWORD": settings.hook_password}
    missing = [name for name, value in account.items() if value is None and name not in unreadable]
    if len(missing) == 1:
        (other,) = account.keys() - missing
        problems.add(missing[0], f"is not set, but {other} is; set both")
    elif missing and settings.hook_token is None and "HOOK_TOKEN" not in unreadable:
        problems.add(", ".join(missing), "are not set; set both (or HOOK_TOKEN), so that not everybody can call")


class Authenticator:
    """Compares the credentials of a request with the account and the token in `settings`."""

    def __init__(self, settings: Settings) -> None:
        self._username = settings.hook_username
        self._password = settings.hook_password
        self._token = settings.hook_token

    def authenticate(self, headers: Mapping[str, str], path_token: str | None = None) -> bool:
        """Return whether `headers` (names in lower case) hold the account or the token, or `path_token` is the token.

        The token may be all of `Authorization`, as Harbor sends it, follow `Bearer` there, be in `X-Hook-Token`, or be the
        password of any user, for browsers.
        """
        authorization = headers.get("authorization", "")
        scheme, _, value = authorization.partition(" ")
        username, password = _decode_basic(value) if scheme.lower() == "basic" else ("", "")
        tokens = (
            headers.get("x-hook-token", ""),
            password,
            value.strip() if scheme.lower() == "bearer" else authorization,
            path_token or "",
        )
        # Everything is compared, whatever the first comparison gives, so that the time does not show which one failed.
        is_account = all([_equals(self._username, username), _equals(self._password, password)])
        is_token = any([_equals(self._token, token) for token in tokens])  # noqa: C419
        return is_account or is_token

    def authenticate_signature(self, body: bytes, headers: Mapping[str, str]) -> bool:
        """Return whether `body` is signed with the token, as GitHub signs it."""
        return self._token is not None and webhooks.is_signed(body, headers, self._token.value)


def _decode_basic(encoded: str) -> tuple[str, str]:
    """Return the username and password of basic auth; both are empty if `encoded` is invalid."""
    try:
        username, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return username, password


def _equals(secret: Secret | None, text: str) -> bool:
    """Compare in constant time. The digests hide the length, too."""
    if secret is None:
        return False
    digests = [hashlib.sha256(one.encode(errors="surrogatepass")).digest() for one in (secret.value, text)]
    return hmac.compare_digest(*digests)
