"""Looks up digests over persistent connections, with libcurl on the event loop.

The client only accepts unambiguous responses. If it does not understand a response, it does not decide, and crane does.
"""

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pycurl
from loguru import logger

from imageporter import USER_AGENT
from imageporter.model.account import Accounts
from imageporter.model.reference import DEFAULT_TAG, Reference
from imageporter.registry.authenticator import Authenticator, Response, TooManyRequestsError
from imageporter.registry.errors import ErrorKind, RegistryError
from imageporter.registry.proxies import proxy_for
from imageporter.registry.responses import accepted_digest, parse_headers, pulls_left, retry_after

# crane's, in its order: both must be given the same manifest.
ACCEPT = (
    "Accept: "
    "application/vnd.docker.distribution.manifest.v1+json,"
    "application/vnd.docker.distribution.manifest.v1+prettyjws,"
    "application/vnd.docker.distribution.manifest.v2+json,"
    "application/vnd.oci.image.manifest.v1+json,"
    "application/vnd.docker.distribution.manifest.list.v2+json,"
    "application/vnd.oci.image.index.v1+json"
)
OK, UNAUTHORIZED, NOT_FOUND, TOO_MANY_REQUESTS = 200, 401, 404, 429
NO_SUCH_API = frozenset({400, NOT_FOUND, 405, 406, 501})  # of registries that do not know an endpoint
LARGEST_BODY = 1 << 20  # bytes; curl itself limits the headers
MAX_RETIRED = 8
CLOSE_SECONDS = 1.0
READ_AGAIN_SECONDS = 0.1
HTTP2_CONNECTIONS = 4  # to one host: HTTP/2 multiplexes, and curl opens them one by one


class Client:
    """Looks up digests. Use it as a context manager, in a running event loop."""

    def __init__(self, accounts: Accounts, ca_bundle: Path | None, environ: Mapping[str, str], width: int) -> None:
        """Trust the certificates in `ca_bundle`, and take the proxies from `environ`.

        `width` is the number of look-ups that run at the same time.
        """
        self.pulls_left: dict[str, int] = {}  # by registry, of those that limit pulls
        self._transport = _Transport(ca_bundle, environ, width)
        self._authenticator = Authenticator(accounts, self._transport.send)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection. Requests that are under way are cancelled."""
        await self._authenticator.close()
        self._transport.close()

    async def digest(self, subject: str, image: Reference, seconds: float) -> str | None:
        """Return the digest of `image`, which an error calls `subject` (`source` or `target`); None if crane must decide.

        Raises RegistryError if a target does not exist, if there were too many requests, and if no complete response
        arrived within `seconds`.
        """
        path = f"manifests/{image.digest or image.tag or DEFAULT_TAG}"
        response = await self._request(subject, "HEAD", image, path, seconds)
        if response is None:
            return None
        if response.status == TOO_MANY_REQUESTS or (response.status == NOT_FOUND and subject == "target"):
            seconds_to_wait = retry_after(response)
            raise RegistryError.from_response(subject, response.request, image.host, response.status, seconds_to_wait)
        return accepted_digest(response, image.digest) if response.status == OK else None

    async def get(self, subject: str, image: Reference, path: str, seconds: float) -> Response | None:
        """Return the response to the GET request for `path` below the repository of `image`; None if the API is not there.

        Raises RegistryError if there was any other response, or no complete one within `seconds`.
        """
        response = await self._request(subject, "GET", image, path, seconds)
        if response is None:
            detail = f"GET {image.repository}: {path}: there was no clear response"
            raise RegistryError(subject, ErrorKind.OTHER, detail, image.host)
        if response.status not in {OK, *NO_SUCH_API}:
            raise RegistryError.from_response(subject, response.request, image.host, response.status, retry_after(response))
        return response if response.status == OK else None

    async def _request(self, subject: str, method: str, image: Reference, path: str, seconds: float) -> Response | None:
        """Return the response to a request below a repository, or a 429 of the token service; None if there is none.

        Raises RegistryError if it takes longer than `seconds`.
        """
        try:
            async with asyncio.timeout(seconds):
                response = await self._send(method, image, path, seconds)
        except TimeoutError:
            detail = f"no end after {seconds:g} seconds (PROBE_TIMEOUT)"
            raise RegistryError(subject, ErrorKind.TIMED_OUT, detail, image.host) from None
        except TooManyRequestsError as error:
            return error.response
        if response is not None and (left := pulls_left(response)) is not None:
            self.pulls_left[image.host] = left
        return response

    async def _send(self, method: str, image: Reference, path: str, seconds: float) -> Response | None:
        """Send a request with the account of `image`. A cached token that is refused is renewed once."""
        while access := await self._authenticator.access(image, seconds):
            url = f"{access.url}/v2/{image.path}/{path}"
            headers = [ACCEPT, *access.headers]
            response = await self._transport.send(method, url, headers, insecure=access.insecure)
            if response is None or response.status != UNAUTHORIZED or not access.token or not access.is_cached:
                return response
            self._authenticator.discard(image, access.token)
        return None


class _Transport:
    """Sends requests with HTTP/2, and with HTTP/1.1 to servers that have no HTTP/2."""

    def __init__(self, ca_bundle: Path | None, environ: Mapping[str, str], width: int) -> None:
        self._environ = environ
        self._ca_bundle = ca_bundle
        self._http2 = self._new_http2()
        self._retired: list[_Connections] = []
        self._http1 = _Connections(pycurl.CURL_HTTP_VERSION_1_1, width, ca_bundle)
        self._without_http2: set[str] = set()
        self._proxies: dict[str, str] = {}

    async def send(self, method: str, url: str, headers: list[str], *, insecure: bool) -> Response | None:
        """Return the response to a request; None if there is none, because a connection failed, say."""
        scheme, _, rest = url.partition("://")
        authority = rest.partition("/")[0].partition("?")[0]
        origin = f"{scheme}://{authority}"
        if origin not in self._proxies:
            self._proxies[origin] = proxy_for(scheme, authority, self._environ)
        is_http1 = scheme == "http" or origin in self._without_http2
        connections = self._http1 if is_http1 else self._http2
        try:
            response, version = await connections.perform(method, url, headers, self._proxies[origin], insecure=insecure)
        except asyncio.CancelledError:  # by a time limit, mostly
            self._retire(connections)
            raise
        if version in {pycurl.CURL_HTTP_VERSION_1_0, pycurl.CURL_HTTP_VERSION_1_1}:
            self._without_http2.add(origin)
        return response

    def _new_http2(self) -> "_Connections":
        return _Connections(pycurl.CURL_HTTP_VERSION_2TLS, HTTP2_CONNECTIONS, self._ca_bundle)

    def _retire(self, connections: "_Connections") -> None:
        """Use new connections from now on, because one of `connections` may be dead.

        curl would keep a dead HTTP/2 connection, and send every further request over it. It closes HTTP/1.1 connections
        itself.
        """
        if connections is not self._http2:
            return
        self._http2 = self._new_http2()
        self._retired.append(connections)
        if len(self._retired) > MAX_RETIRED and (idle := next((one for one in self._retired if not one.running), None)):
            self._retired.remove(idle)
            idle.close()

    def close(self) -> None:
        """Close every connection."""
        for connections in (*self._retired, self._http2, self._http1):
            connections.close()


class _Multi(pycurl.AsyncCurlMulti):  # type: ignore[misc]
    """curl's handle for many requests at once, which reads responses that libcurl has forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self._read_again: asyncio.TimerHandle | None = None

    def add_handle(self, curl: Any) -> Any:
        """Send a request, and return the future of its handle."""
        future = super().add_handle(curl)
        if not self._read_again:
            self._schedule(asyncio.get_running_loop())
        return future

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        self._read_again = loop.call_later(READ_AGAIN_SECONDS, self._read_buffered, loop)

    def _read_buffered(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read from every socket, whether there is something to read or not.

        While libcurl 8.21 to 8.23 completes one HTTP/2 request, it may take the responses to others from the socket into a
        buffer, and then wait for the socket, which stays silent. Of ten thousand requests, about one would time out.
        """
        self._read_again = None
        for socket in tuple(self._assigned_fds):
            self._drive(socket, pycurl.CSELECT_IN)
        if self._futures:
            self._schedule(loop)

    def stop_reading(self) -> None:
        """Cancel the timer, in the thread of the event loop."""
        if self._read_again:
            self._read_again.cancel()


class _Connections:
    """Connections of one HTTP version, at most `per_host` to each host, and curl's handles for requests over them."""

    def __init__(self, version: int, per_host: int, ca_bundle: Path | None) -> None:
        self._version = version
        self._ca_bundle = ca_bundle
        self._multi = _Multi()
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, per_host)
        self._idle: list[Any] = []
        self.running = 0

    async def perform(
        self, method: str, url: str, headers: list[str], proxy: str, *, insecure: bool
    ) -> tuple[Response | None, int]:
        """Return the response to a request, and its HTTP version; None and 0 if there is no complete response."""
        request = f"{method} {url}"
        handle = self._idle.pop() if self._idle else self._new_handle()
        header_lines: list[bytes] = []
        body: list[bytes] = []
        handle.setopt(pycurl.URL, url)
        # Never an empty list: pycurl ignores it, and the handle would send the last request's credentials again.
        handle.setopt(pycurl.HTTPHEADER, [f"User-Agent: {USER_AGENT}", *headers])
        handle.setopt(pycurl.NOBODY if method == "HEAD" else pycurl.HTTPGET, 1)
        handle.setopt(pycurl.PROXY, proxy.encode(errors="surrogateescape"))
        handle.setopt(pycurl.SSL_VERIFYPEER, 0 if insecure else 1)
        handle.setopt(pycurl.SSL_VERIFYHOST, 0 if insecure else 2)
        handle.setopt(pycurl.MAXFILESIZE, 0 if method == "HEAD" else LARGEST_BODY)
        handle.setopt(pycurl.HEADERFUNCTION, header_lines.append)
        handle.setopt(pycurl.WRITEFUNCTION, body.append)
        self.running += 1
        try:
            await self._multi.perform(handle)  # if this is cancelled, the handle is dropped
        except pycurl.error as error:
            logger.debug("+ {} -> curl error {}", request, error.args[0])
            self._idle.append(handle)
            return None, 0
        finally:
            self.running -= 1
        status = handle.getinfo(pycurl.RESPONSE_CODE)
        version = handle.getinfo(pycurl.INFO_HTTP_VERSION)
        self._idle.append(handle)
        logger.debug("+ {} -> {}", request, status)
        return Response(request, status, parse_headers(header_lines), b"".join(body)), version

    def _new_handle(self) -> Any:
        """Return a handle with the options that are the same for every request."""
        handle = pycurl.Curl()
        handle.setopt(pycurl.NOSIGNAL, 1)
        handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        handle.setopt(pycurl.FOLLOWLOCATION, 0)
        handle.setopt(pycurl.NOPROXY, "")  # otherwise curl reads the variable itself
        handle.setopt(pycurl.HEADEROPT, pycurl.HEADER_SEPARATE)  # no credentials to a proxy's CONNECT
        handle.setopt(pycurl.HTTP_VERSION, self._version)
        handle.setopt(pycurl.PIPEWAIT, 1 if self._version == pycurl.CURL_HTTP_VERSION_2TLS else 0)
        for option in (pycurl.CAINFO, pycurl.PROXY_CAINFO):
            if self._ca_bundle:
                handle.setopt(option, str(self._ca_bundle))
            else:
                handle.unsetopt(option)
        return handle

    def close(self) -> None:
        """Close every connection.

        libcurl waits for its look-ups of host names, which a dead name server may delay for 20 seconds. So this waits for
        CLOSE_SECONDS at most, and leaves the rest to a thread that does not keep the process.
        """
        self._multi.stop_reading()
        closing = threading.Thread(target=lambda: asyncio.run(self._multi.aclose()), daemon=True)
        with suppress(RuntimeError):  # no more threads are allowed; the process ends soon
            closing.start()
            closing.join(CLOSE_SECONDS)
