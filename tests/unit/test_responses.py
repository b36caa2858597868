"""What the headers of a response say, or do not say."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from imageporter.registry.authenticator import Response
from imageporter.registry.responses import accepted_digest, parse_headers, pulls_left, retry_after

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64
MANIFEST = {"docker-content-digest": DIGEST, "content-type": "application/json", "content-length": "300"}


def response(headers: dict[str, str]) -> Response:
    return Response("HEAD https://r.io", 200, {name: [value] for name, value in headers.items()}, b"")


def test_only_the_headers_of_the_last_response_count() -> None:
    lines = [
        b"HTTP/1.1 200 Connection established\r\n",
        b"Via: a proxy\r\n",
        b"\r\n",
        b"HTTP/1.1 103 Early\r\n",
        b"Link: x\r\n",
    ]
    lines += [b"HTTP/2 200\r\n", b"Content-Type: a:b \r\n", b"CONTENT-TYPE:c\r\n", b"X-\xe9: \xe9\r\n"]
    assert parse_headers(lines) == {"content-type": ["a:b", "c"], "x-é": ["é"]}


def test_a_digest_is_accepted_with_all_three_headers() -> None:
    assert accepted_digest(response(MANIFEST), None) == DIGEST
    assert accepted_digest(response(MANIFEST), DIGEST) == DIGEST
    assert accepted_digest(response(MANIFEST), OTHER) is None
    for name in MANIFEST:
        for value in ("", None):
            changed = {key: text for key, text in (MANIFEST | {name: value}).items() if text is not None}
            assert accepted_digest(response(changed), None) is None
    assert accepted_digest(response(MANIFEST | {"docker-content-digest": f"{DIGEST} "}), None) is None


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("98;w=21600", 98),
        ("0;w=21600", 0),
        ("5", 5),
        (" 7 ; w=1;x", 7),
        ("999999999", 999_999_999),
        ("1000000000", None),
        ("-1;w=21600", None),
        ("1.5", None),
        ("²", None),
        ("٣", None),
        ("many", None),
        ("", None),
        (None, None),
    ],
)
def test_how_many_pulls_docker_hub_grants(text: str | None, left: int | None) -> None:
    assert pulls_left(response({} if text is None else {"ratelimit-remaining": text})) == left


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("0", 0), ("7", 7), ("300", 300), ("301", 300), ("9" * 400, 300)),
        *(("-5", None), ("1.5", None), ("soon", None), ("", None), (None, None), ("²", None)),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0),
        ("Tue, 31 Dec 2999 23:59:59 GMT", 300),
        ("Tue, 31 Dec 2999 23:59:59 CET", None),
    ],
)
def test_when_to_retry(text: str | None, seconds: float | None) -> None:

    assert retry_after(response({} if text is None else {"retry-after": text})) == seconds


def test_a_date_to_retry_at_becomes_seconds() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 98 < (retry_after(response({"retry-after": date})) or 0) <= 100
