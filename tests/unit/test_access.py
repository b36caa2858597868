"""How an image is accessed: pings, endpoints and tokens, with a function instead of a network."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from imageporter.model.account import Account, Accounts
from imageporter.model.reference import Reference, parse
from imageporter.registry import authenticator
from imageporter.registry.authenticator import Access, Authenticator, Response, TooManyRequestsError, parse_token

ALICE = "Authorization: Basic YWxpY2U6c2VjcmV0"
BEARER = 'Bearer realm="https://auth.example/token?a=b&scope=old&empty=",service="s s"'
PUBLIC, LOOPBACK = Reference("reg.example", "team/app", "1"), Reference("127.0.0.1:5000", "team/app", "1")
Answer = tuple[int, dict[str, str] | str] | None


class Network:
    """Answers requests by their URLs without a query: a status with headers, or with a body."""

    def __init__(self, **answers: Answer | Callable[[], Answer]) -> None:
        self.answers = answers
        self.requests: list[tuple[str, str, list[str], bool]] = []

    async def send(self, method: str, url: str, headers: list[str], *, insecure: bool) -> Response | None:
        """Return the answer."""
        self.requests.append((method, url, headers, insecure))
        await asyncio.sleep(0)
        scheme, _, rest = url.partition("://")
        answer = self.answers["token" if "/token" in rest else scheme]
        found = answer() if callable(answer) else answer
        if found is None:
            return None
        status, content = found
        text = content if isinstance(content, str) else ""
        headers_found = {} if isinstance(content, str) else {name: [value] for name, value in content.items()}
        return Response(f"{method} {url}", status, headers_found, text.encode())

    @property
    def urls(self) -> list[str]:
        """The URLs of all requests."""
        return [url for _, url, _, _ in self.requests]


def accesses(network: Network, *images: Reference, accounts: Accounts | None = None) -> list[Access | None]:
    """Return how some images are accessed, one after the other."""

    async def run() -> list[Access | None]:
        one = Authenticator(accounts or Accounts({}), network.send)
        found = [await one.access(image, 5) for image in images]
        await one.close()
        return found

    return asyncio.run(run())


def alice(prefix: str, *, insecure: bool = False) -> Accounts:
    return Accounts({prefix: Account(prefix, "alice", "secret", insecure)})


def token(**content: Any) -> Answer:
    return 200, json.dumps(content)


def test_docker_hub_has_an_api_of_its_own() -> None:
    network = Network(https=(401, {"www-authenticate": BEARER}), token=token(token="t"))
    image = parse("busybox")
    assert accesses(network, image) == [
        Access("https://registry-1.docker.io", ["Authorization: Bearer t"], insecure=False, token="t")
    ]
    assert network.requests == [
        ("GET", "https://registry-1.docker.io/v2/", [], False),
        (
            "GET",
            "https://auth.example/token?a=b&empty=&scope=repository%3Alibrary%2Fbusybox%3Apull&service=s+s",
            [],
            False,
        ),
    ]


@pytest.mark.parametrize("answer", [None, (408, {}), (500, {}), (503, {})])
def test_a_ping_that_failed_for_now_is_repeated(answer: Answer) -> None:
    network = Network(https=answer)
    assert accesses(network, PUBLIC, PUBLIC) == [None, None]
    assert network.urls == 2 * ["https://reg.example/v2/"]


@pytest.mark.parametrize(
    "answer",
    [
        (404, {}),
        (499, {}),
        (401, {}),
        (401, {"www-authenticate": "Digest x"}),
        (401, {"www-authenticate": "Digest basic"}),
        (403, {"www-authenticate": BEARER}),
    ],
)
def test_an_odd_ping_is_not_repeated(answer: Answer) -> None:
    network = Network(https=answer)
    assert accesses(network, PUBLIC, PUBLIC) == [None, None]
    assert network.urls == ["https://reg.example/v2/"]


@pytest.mark.parametrize("where", ["https", "token"])
def test_too_many_requests_are_an_error_and_not_remembered(where: str) -> None:
    answers: dict[str, Answer] = {"https": (401, {"www-authenticate": BEARER}), "token": token(token="t")}
    network = Network(**answers | {where: (429, {})})
    with pytest.raises(TooManyRequestsError) as caught:
        accesses(network, PUBLIC)
    assert (caught.value.response.status, str(caught.value)) == (429, f"GET {network.urls[-1]}")

    async def twice() -> None:
        one = Authenticator(Accounts({}), network.send)
        for _ in range(2):
            with pytest.raises(TooManyRequestsError):
                await one.access(PUBLIC, 5)

    network.requests.clear()
    asyncio.run(twice())
    assert len(network.requests) == (2 if where == "https" else 3)


@pytest.mark.parametrize(
    ("https", "http", "url"),
    [
        ((200, {}), (200, {}), "https://127.0.0.1:5000"),
        (None, (200, {}), "http://127.0.0.1:5000"),
        ((400, {}), (200, {}), "http://127.0.0.1:5000"),
        ((500, {}), (401, {"www-authenticate": "Basic realm=x"}), "http://127.0.0.1:5000"),
        (None, (404, {}), None),
        ((404, {}), None, None),
        (None, None, None),
    ],
)
def test_plain_http_is_tried_where_https_is_no_registry(https: Answer, http: Answer, url: str | None) -> None:
    network = Network(https=https, http=http)
    (access,) = accesses(network, LOOPBACK)
    assert (access and access.url) == url
    both = ["https://127.0.0.1:5000/v2/", "http://127.0.0.1:5000/v2/"]
    assert network.urls == (both[:1] if url and url.startswith("https") else both)
    network = Network(https=https, http=http)
    (access,) = accesses(network, PUBLIC)
    assert network.urls == ["https://reg.example/v2/"]
    network = Network(https=https, http=http)
    (access,) = accesses(network, PUBLIC, accounts=alice("reg.example", insecure=True))
    assert (access and access.url) == (url and url.replace("127.0.0.1:5000", "reg.example"))
    assert {insecure for _, _, _, insecure in network.requests} == {True}


@pytest.mark.parametrize(
    ("https", "http", "remembered"), [((404, {}), None, True), ((500, {}), None, False), (None, (404, {}), True)]
)
def test_the_only_response_decides_whether_a_ping_is_repeated(https: Answer, http: Answer, remembered: bool) -> None:  # noqa: FBT001
    network = Network(https=https, http=http)
    assert accesses(network, LOOPBACK, LOOPBACK) == [None, None]
    assert len(network.requests) == (2 if remembered else 4)


def test_https_that_hangs_holds_nothing_up_and_is_cancelled() -> None:
    cancelled: list[str] = []

    async def send(method: str, url: str, headers: list[str], *, insecure: bool) -> Response:
        del headers, insecure
        if url.startswith("https"):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.append(url)
                raise
        return Response(f"{method} {url}", 200, {}, b"")

    async def run() -> Access | None:
        access = await Authenticator(Accounts({}), send).access(LOOPBACK, 5)
        await asyncio.sleep(0)
        assert cancelled == ["https://127.0.0.1:5000/v2/"]
        return access

    began = time.monotonic()
    access = asyncio.run(run())
    assert access == Access("http://127.0.0.1:5000", [], insecure=False)
    assert authenticator.FALLBACK_DELAY <= time.monotonic() - began < 5


@pytest.mark.parametrize(
    "https", [(200, {}), (401, {"www-authenticate": "basic"}), (401, {"www-authenticate": "BASIC realm=x"})]
)
def test_a_registry_without_tokens_gets_the_account(https: Answer) -> None:
    network = Network(https=https)
    (access, *_) = accesses(network, PUBLIC, accounts=alice("reg.example"))
    assert access == Access("https://reg.example", [ALICE], insecure=False, token=None, is_cached=False)


@pytest.mark.parametrize(
    ("realm", "insecure"),
    [("http://127.0.0.1:5000/token", True), ("http://127.0.0.1:5001/token", False), ("http://auth.example/token", False)],
)
def test_a_token_is_fetched_insecurely_from_the_registry_itself_only(realm: str, insecure: bool) -> None:  # noqa: FBT001
    accounts = alice("127.0.0.1:5000", insecure=True)
    network = Network(https=None, http=(401, {"www-authenticate": f'Bearer realm="{realm}"'}), token=token(token="t"))
    (access,) = accesses(network, LOOPBACK, accounts=accounts)
    found = [request for request in network.requests if "/token" in request[1]]
    if realm.startswith("http://127.0.0.1:5001"):  # another port of an address
        assert (access, found) == (None, [])
        return
    assert access == Access("http://127.0.0.1:5000", ["Authorization: Bearer t"], insecure=True, token="t")
    assert [(headers, flag) for _, _, headers, flag in found] == [([ALICE], insecure)]


def test_a_token_of_the_registry_itself_is_fetched_securely_unless_the_account_is_insecure() -> None:
    network = Network(https=(401, {"www-authenticate": 'Bearer realm="https://reg.example/token"'}), token=token(token="t"))
    assert accesses(network, PUBLIC, accounts=alice("reg.example")) != [None]
    assert [insecure for _, _, _, insecure in network.requests] == [False, False]


def test_a_password_may_be_any_bytes() -> None:
    accounts = Accounts({"reg.example": Account("reg.example", "a", "\udcff")})
    (access,) = accesses(Network(https=(200, {})), PUBLIC, accounts=accounts)
    assert access is not None
    assert access.headers == ["Authorization: Basic YTr/"]


@pytest.mark.parametrize("status", [201, 204, 401, 403, 500])
def test_a_token_comes_with_status_200(status: int) -> None:
    network = Network(https=(401, {"www-authenticate": BEARER}), token=(status, '{"token": "t"}'))
    assert accesses(network, PUBLIC, PUBLIC) == [None, None]
    assert len(network.requests) == 3


def test_a_token_is_kept_for_nine_tenths_of_its_life(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    network = Network(https=(401, {"www-authenticate": BEARER}), token=token(token="t", expires_in=100))

    async def run() -> None:
        one = Authenticator(Accounts({}), network.send)
        for seconds, is_cached in ((0.0, False), (89.0, True), (1.5, False), (0.0, True)):
            now[0] += seconds
            access = await one.access(PUBLIC, 5)
            assert access is not None
            assert (access.token, access.is_cached) == ("t", is_cached)
        other = await one.access(Reference("reg.example", "team/other"), 5)
        assert other is not None
        assert not other.is_cached
        for text, is_cached in (("another", True), ("t", False)):
            one.discard(PUBLIC, text)
            access = await one.access(PUBLIC, 5)
            assert access is not None
            assert access.is_cached == is_cached
        one.discard(Reference("reg.example", "never/there"), "t")

    asyncio.run(run())
    assert len(network.requests) == 5


def test_no_access_shows_its_token() -> None:
    access = Access("https://a.io", ["Authorization: Bearer secret"], insecure=False, token="secret")
    assert repr(access) == "Access('https://a.io')"
    assert "secret" not in repr(Response("GET https://a.io", 200, {"x": ["secret"]}, b"secret"))


@pytest.mark.parametrize(
    ("body", "parsed"),
    [
        ({"token": "t"}, ("t", 60)),
        ({"access_token": "a", "token": "t"}, ("a", 60)),
        ({"token": "t", "expires_in": 1}, ("t", 1)),
        ({"token": "t", "expires_in": 0}, ("t", 60)),
        ({"token": "t", "expires_in": -1}, ("t", 60)),
        ({"token": "t", "expires_in": 86400}, ("t", 86400)),
        ({"token": "t", "expires_in": 86401}, ("t", 86400)),
        ({"token": "t", "expires_in": 1.5}, (None, 0)),
        ({"token": "t", "expires_in": True}, (None, 0)),
        ({"token": "t", "expires_in": "300"}, (None, 0)),
        ({"token": "!~"}, ("!~", 60)),
        ({"token": "a b"}, (None, 0)),
        ({"token": "a\x7f"}, (None, 0)),
        ({"token": "a\n"}, (None, 0)),
        ({"token": "é"}, (None, 0)),
        ({"token": ["t"]}, (None, 0)),
        ({"token": ""}, (None, 0)),
        ({}, (None, 0)),
        ([], (None, 0)),
        ("t", (None, 0)),
    ],
)
def test_what_a_token_service_answers(body: object, parsed: tuple[str | None, int]) -> None:
    assert parse_token(json.dumps(body).encode()) == parsed


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_no_token(body: bytes) -> None:
    assert parse_token(body) == (None, 0)


def test_a_header_that_is_there_twice_says_nothing() -> None:
    response = Response("GET https://a.io", 200, {"one": ["a"], "two": ["a", "a"]}, b"")
    assert [response.header(name) for name in ("one", "two", "three")] == ["a", None, None]
