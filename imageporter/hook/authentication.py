"""Who may call the hook, and how often."""

import base64
import binascii
import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Mapping

from pydantic import SecretStr

from imageporter.hook.webhooks import signed
from imageporter.config.settings import Settings

BURST_SECONDS = 10
MOST_ADDRESSES = 10_000


def check(settings: Settings, mistakes: list[str]) -> None:
    """Add to `mistakes` what is missing for anybody to be let in."""
    given = {"HOOK_USERNAME": settings.hook_username, "HOOK_PASSWORD": settings.hook_password}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == 1:
        mistakes.append(f"{missing[0]}: is not set, but its companion is; set both")
    elif missing and settings.hook_token is None:
        mistakes.append("HOOK_USERNAME, HOOK_PASSWORD: are not set; set both (or HOOK_TOKEN), so that not everybody can call")


class Callers:
    """Knows callers by their account or token, and counts their calls by address."""

    def __init__(self, settings: Settings) -> None:
        self._account = (settings.hook_username, settings.hook_password)
        self._token = settings.hook_token
        self._rate = settings.hook_rate
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admits(self, address: str) -> bool:
        """Whether a call from `address` is not one too many: HOOK_RATE a second, BURST_SECONDS' worth at once."""
        if not self._rate:
            return True
        now, most = time.monotonic(), float(self._rate * BURST_SECONDS)
        left, then = self._left.pop(address, (most, now))
        left = min(most, left + (now - then) * self._rate)
        self._left[address] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > MOST_ADDRESSES:
            self._left.popitem(last=False)
        return left >= 1

    def knows(self, headers: Mapping[str, str]) -> bool:
        """Whether `headers` (names in small letters) hold the account, by basic auth, or the token.

        The token may be the whole `Authorization`, as Harbor sends it, stand behind `Bearer`, or in `X-Hook-Token`.
        """
        whole = headers.get("authorization", "")
        scheme, _, rest = whole.partition(" ")
        username, password = _basic(rest) if scheme.lower() == "basic" else ("", "")
        words = (headers.get("x-hook-token", ""), rest.strip() if scheme.lower() == "bearer" else whole)
        # All are compared, whatever the first gives: the time must not tell which was wrong.
        by_account = all([_same(self._account[0], username), _same(self._account[1], password)])
        by_token = any([_same(self._token, word) for word in words])  # noqa: C419
        return by_account or by_token

    def knows_token(self, token: str) -> bool:
        """Whether `token`, from a path, is the token."""
        return _same(self._token, token)

    def signed(self, body: bytes, headers: Mapping[str, str]) -> bool:
        """Whether the token has signed `body`, as GitHub does it."""
        return self._token is not None and signed(body, headers, self._token.get_secret_value())


def _basic(encoded: str) -> tuple[str, str]:
    """The username and password of basic auth; empty where they are none."""
    try:
        username, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return username, password


def _same(wanted: SecretStr | None, found: str) -> bool:
    """Whether they are the same; how long that takes tells neither where they differ nor how long they are."""
    if wanted is None:
        return False
    digests = [hashlib.sha256(text.encode(errors="surrogatepass")).digest() for text in (wanted.get_secret_value(), found)]
    return hmac.compare_digest(*digests)
