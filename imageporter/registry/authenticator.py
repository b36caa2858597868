"""Authentication with registries: the challenge of each registry and a token for each repository.

The rules are those of go-containerregistry, which crane uses: `Registry.Scheme` in pkg/name/registry.go, and ping.go,
bearer.go and basic.go in pkg/v1/remote/transport. Where they are lenient, this module gives up, and crane decides.
"""

import asyncio
import base64
import json
import re
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, Protocol

from imageporter.model.account import Account, Accounts
from imageporter.model.reference import DOCKER_HUB, Reference
from imageporter.registry.challenge import Bearer, falls_back_to_http, is_allowed_realm, parse_bearer
from imageporter.system.tasks import shared_result

DOCKER_HUB_API = "registry-1.docker.io"
FALLBACK_DELAY = 0.3  # seconds of HTTPS alone before plain HTTP is tried as well: crane's
DEFAULT_LIFETIME = 60  # seconds: the token specification's
LONGEST_LIFETIME = 24 * 3600  # seconds; JSON has numbers of any length
EXPIRY_MARGIN = 0.1  # of a token's lifetime, in which it is not used any more
OK, UNAUTHORIZED, REQUEST_TIMEOUT, TOO_MANY_REQUESTS, SERVER_ERROR = 200, 401, 408, 429, 500

_SCHEME = re.compile(r"(basic|bearer)(?= |$)", re.IGNORECASE)
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Response:
    """The response to `request` (`HEAD https://...`)."""

    request: str
    status: int
    headers: Mapping[str, list[str]] = field(repr=False)  # by names in lower case
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """Return the value of the header `name` (in lower case); None if it is missing, or there more than once."""
        values = self.headers.get(name, [])
        return values[0] if len(values) == 1 else None


class TooManyRequestsError(Exception):
    """A request for access to a registry was answered with 429."""

    def __init__(self, response: Response) -> None:
        self.response = response
        super().__init__(response.request)


class Send(Protocol):
    """Sends a request, with header lines, and returns the response; None if there is none."""

    def __call__(self, method: str, url: str, headers: list[str], *, insecure: bool) -> Awaitable[Response | None]: ...


class Endpoint(NamedTuple):
    """The API of a registry: its URL without a path, and what it wants. Without `bearer` it takes an account directly."""

    url: str
    bearer: Bearer | None


class Access(NamedTuple):
    """What a request for an image needs: the registry's URL, the header lines, and `token` if one was used."""

    url: str
    headers: list[str]
    insecure: bool
    token: str | None = None
    is_cached: bool = False

    def __repr__(self) -> str:
        return f"Access({self.url!r})"


class Authenticator:
    """Finds out how each registry authenticates, and fetches tokens. Concurrent look-ups share these requests."""

    def __init__(self, accounts: Accounts, send: Send) -> None:
        self._accounts = accounts
        self._send = send
        self._endpoints: dict[tuple[str, bool], Endpoint | None] = {}
        self._tokens: dict[str, tuple[str, float]] = {}
        self._shared: dict[Hashable, asyncio.Task[Any]] = {}

    async def access(self, image: Reference, seconds: float) -> Access | None:
        """Return how to access `image`; None if crane must find out.

        A request that is sent for it may take `seconds`. Raises TimeoutError and TooManyRequestsError.
        """
        account = self._accounts.find(image)
        insecure = account is not None and account.insecure
        key = (image.host, insecure)
        if key in self._endpoints:
            endpoint = self._endpoints[key]
        else:
            endpoint = await self._share(key, partial(self._find_endpoint, image.host, insecure), seconds)
        if endpoint is None:
            return None
        if endpoint.bearer is None:
            return Access(endpoint.url, _basic(account), insecure)
        token, expiry = self._tokens.get(image.repository, ("", 0.0))
        is_cached = time.monotonic() < expiry
        if not is_cached:
            fetch = partial(self._fetch_token, endpoint, endpoint.bearer, image, account)
            token = await self._share(image.repository, fetch, seconds)
        return Access(endpoint.url, [f"Authorization: Bearer {token}"], insecure, token, is_cached) if token else None

    def discard(self, image: Reference, token: str) -> None:
        """Forget the token of `image` if it still is `token`."""
        if self._tokens.get(image.repository, ("", 0.0))[0] == token:
            del self._tokens[image.repository]

    async def close(self) -> None:
        """Cancel the requests that are under way."""
        for task in (tasks := list(self._shared.values())):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _share(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, Any]], seconds: float) -> Any:
        """Return the result of `work`, which runs once for all who wait for `key`, for `seconds` at most."""
        task = self._shared.get(key)
        if task is None:
            task = self._shared[key] = asyncio.create_task(_bounded(work, seconds))
            task.add_done_callback(lambda _: self._shared.pop(key))
        return await shared_result(task)

    async def _find_endpoint(self, host: str, insecure: bool) -> Endpoint | None:  # noqa: FBT001
        """Ping the registry `host`, and remember its endpoint, or that its response was odd."""
        scheme, response = await self._ping(DOCKER_HUB_API if host == DOCKER_HUB else host, insecure)
        if response is None or response.status >= SERVER_ERROR or response.status == REQUEST_TIMEOUT:
            return None  # not for ever
        if response.status == TOO_MANY_REQUESTS:
            raise TooManyRequestsError(response)
        endpoint = _endpoint(scheme, DOCKER_HUB_API if host == DOCKER_HUB else host, response)
        self._endpoints[host, insecure] = endpoint
        return endpoint

    async def _ping(self, host: str, insecure: bool) -> tuple[str, Response | None]:  # noqa: FBT001
        """Return the scheme that `host` speaks, and its response to a request without credentials."""

        async def ping(scheme: str) -> tuple[str, Response | None]:
            return scheme, await self._send("GET", f"{scheme}://{host}/v2/", [], insecure=insecure)

        pings = [asyncio.create_task(ping("https"))]
        try:
            if insecure or falls_back_to_http(host):
                await asyncio.wait(pings, timeout=FALLBACK_DELAY)
                if not (pings[0].done() and _is_pong(pings[0].result()[1])):
                    pings.append(asyncio.create_task(ping("http")))
            for first in asyncio.as_completed(pings):
                scheme, response = await first
                if _is_pong(response):
                    return scheme, response
            return next((each.result() for each in pings if each.result()[1]), ("https", None))
        finally:
            for each in pings:
                each.cancel()

    async def _fetch_token(self, endpoint: Endpoint, bearer: Bearer, image: Reference, account: Account | None) -> str | None:
        """Fetch a token that may pull from the repository of `image`, and keep it until it expires."""
        realm, _, query = bearer.realm.partition("?")
        own = {"scope": f"repository:{image.path}:pull", "service": bearer.service}
        pairs = [(name, value) for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True) if name not in own]
        url = f"{realm}?{urllib.parse.urlencode([*pairs, *own.items()])}"
        # An insecure account is insecure for its registry only, not for the service that gives the tokens.
        insecure = account is not None and account.insecure and _authority(realm) == _authority(endpoint.url)
        started = time.monotonic()
        response = await self._send("GET", url, _basic(account), insecure=insecure)
        if response is None:
            return None
        if response.status == TOO_MANY_REQUESTS:
            raise TooManyRequestsError(response)
        token, lifetime = parse_token(response.body) if response.status == OK else (None, 0)
        if token:
            self._tokens[image.repository] = (token, started + lifetime * (1 - EXPIRY_MARGIN))
        return token


async def _bounded(work: Callable[[], Coroutine[Any, Any, Any]], seconds: float) -> Any:
    async with asyncio.timeout(seconds):
        return await work()


def _is_pong(response: Response | None) -> bool:
    return response is not None and response.status in {OK, UNAUTHORIZED}


def _endpoint(scheme: str, host: str, response: Response) -> Endpoint | None:
    """Return the endpoint that `response` to a ping describes; None if it is odd."""
    url = f"{scheme}://{host}"
    if response.status == OK:
        return Endpoint(url, None)
    challenges = [value for value in response.headers.get("www-authenticate", []) if _SCHEME.match(value)]
    if response.status != UNAUTHORIZED or not challenges:
        return None
    if challenges[0].lower().startswith("basic"):
        return Endpoint(url, None)
    bearer = parse_bearer(challenges[0])
    return Endpoint(url, bearer) if bearer and is_allowed_realm(bearer.realm, host, plain_http=scheme == "http") else None


def _basic(account: Account | None) -> list[str]:
    """Return the header line with an account's credentials; none for anonymous access."""
    if account is None or not account.username or not account.password:
        return []
    credentials = f"{account.username}:{account.password}".encode(errors="surrogateescape")  # from a variable, say
    return [f"Authorization: Basic {base64.b64encode(credentials).decode()}"]


def _authority(url: str) -> str:
    return url.split("/", 3)[2]


def parse_token(body: bytes) -> tuple[str | None, int]:
    """Return the token in the response of a token service, and its lifetime in seconds; None if it is odd."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None, 0
    if not isinstance(content, dict):
        return None, 0
    token = content.get("access_token") or content.get("token")
    lifetime = content.get("expires_in") or DEFAULT_LIFETIME
    if not isinstance(token, str) or not _TOKEN.fullmatch(token) or type(lifetime) is not int:
        return None, 0
    return token, min(lifetime, LONGEST_LIFETIME) if lifetime > 0 else DEFAULT_LIFETIME
