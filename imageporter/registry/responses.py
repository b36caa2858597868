"""What the headers of a registry's response say."""

from datetime import UTC, datetime

from imageporter.model.reference import is_digest
from imageporter.registry.authenticator import Response

LONGEST_RETRY_AFTER = 300.0  # seconds
HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"  # RFC 9110's IMF-fixdate


def parse_headers(lines: list[bytes]) -> dict[str, list[str]]:
    """Return the headers of a response, without those of a proxy's response and of informational responses before it."""
    headers: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith(b"HTTP/"):
            headers.clear()
        else:
            name, _, value = line.decode("latin-1").partition(":")
            headers.setdefault(name.lower(), []).append(value.strip())
    return headers


def accepted_digest(response: Response, expected: str | None) -> str | None:
    """Return the digest in a response, if crane would accept it: it wants all three headers."""
    digest = response.header("docker-content-digest") or ""
    if not is_digest(digest) or digest != (expected or digest):
        return None
    return digest if response.header("content-type") and response.header("content-length") else None


def pulls_left(response: Response) -> int | None:
    """Return how many pulls the registry still grants, which it says in `ratelimit-remaining: 98;w=21600` (Docker Hub).

    https://docs.docker.com/docker-hub/usage/pulls/#view-pull-rate-and-limit
    """
    number = (response.header("ratelimit-remaining") or "").partition(";")[0].strip()
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else None


def retry_after(response: Response) -> float | None:
    """Return the `Retry-After` of a response in seconds, which may be a date; None if there is none."""
    text = response.header("retry-after") or ""
    try:
        seconds = float(text) if text.isdecimal() else _seconds_until(text)
    except ValueError:
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _seconds_until(date: str) -> float:
    return (datetime.strptime(date, HTTP_DATE).replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
