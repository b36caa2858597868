"""Pings of a dead man's switch, which raises the alarm if no ping comes.

PING_URL follows healthchecks.io (https://healthchecks.io/docs/http_api/): POST to URL/start, and then to URL/EXIT-CODE with
the message as its body. With `{status}` in it, it follows Uptime Kuma's push monitors: GET with `up` or `down`.
"""

import threading
import time
from urllib.parse import urlsplit, urlunsplit

import pycurl
from loguru import logger

from imageporter import USER_AGENT
from imageporter.config.settings import Secret, process_environ
from imageporter.model.report import Report
from imageporter.monitoring.messages import compose
from imageporter.registry.ca_bundle import ca_certificates
from imageporter.registry.proxies import proxy_for
from imageporter.system.errors import Problems
from imageporter.system.signals import Shutdown

STATUS = "{status}"
ATTEMPTS = 2
SECONDS = 10  # of each attempt
SECONDS_OF_SHUTDOWN = 2  # docker kills a container ten seconds after it asked it to stop
POLL_SECONDS = 0.1

_REASONS = {
    pycurl.E_OPERATION_TIMEDOUT: f"no response within {SECONDS} seconds",
    pycurl.E_COULDNT_RESOLVE_HOST: "no such host",
    pycurl.E_COULDNT_RESOLVE_PROXY: "no such proxy",
    pycurl.E_COULDNT_CONNECT: "connection refused, or no way there",
    pycurl.E_PEER_FAILED_VERIFICATION: "its certificate is not trusted",
    pycurl.E_GOT_NOTHING: "it closed the connection",
}
_started: list[threading.Thread] = []


def check(url: Secret, problems: Problems) -> None:
    """Add a problem unless `url`, which is not shown, is one that can be pinged."""
    try:
        parts = urlsplit(url.value.strip())
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_url = False
    if not is_url or any(letter.isspace() for letter in url.value.strip()):
        problems.add("PING_URL", "is not the URL of a check; write one like https://hc-ping.com/...")
    elif not url.value.isascii():
        problems.add("PING_URL", "has letters that are not ASCII; write a host as xn--..., and other letters as %C3%B6")
    elif set("{}") & set(url.value.replace(STATUS, "")):
        problems.add("PING_URL", "has braces that are not {status}; write {status}, or leave them out")


def ping_start(url: Secret, shutdown: Shutdown) -> None:
    """Tell healthchecks.io that a pass begins, in a thread: the pass does not wait for it."""
    if STATUS not in url.value and _is_valid(url):
        thread = threading.Thread(target=_ping, args=(_below(url.value, "start"), b"", shutdown), daemon=True)
        _started[:] = [thread]
        thread.start()


def ping(url: Secret, report: Report, previous: Report | None, shutdown: Shutdown) -> None:
    """Tell how a pass has ended, after the ping of its start."""
    if not _is_valid(url):  # which is one of the problems
        return
    for thread in _started:
        thread.join()
    if STATUS in url.value:
        _ping(url.value.strip().replace(STATUS, "down" if report["exit_code"] else "up"), None, shutdown)
    else:
        message = compose(report, previous)
        _ping(_below(url.value, str(report["exit_code"])), f"{message.title}\n\n{message.body}".encode(), shutdown)


def _is_valid(url: Secret) -> bool:
    problems = Problems()
    check(url, problems)
    return not len(problems)


def _below(url: str, name: str) -> str:
    """Return the URL of `name` below the path of `url`."""
    parts = urlsplit(url.strip())
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))


def _ping(url: str, body: bytes | None, shutdown: Shutdown) -> None:
    """Send one request: POST if there is a `body`, else GET. It is tried twice, and a failure is logged without the URL."""
    reason = ""
    for _ in range(ATTEMPTS):
        reason = send(url, body, shutdown)
        if not reason:
            logger.debug("pinged {}", urlsplit(url).hostname)
            return
        if shutdown.exit_code:
            break
    logger.warning("PING_URL: {} could not be pinged: {}", urlsplit(url).hostname, reason)


def send(url: str, body: bytes | None, shutdown: Shutdown) -> str:
    """Return why the request failed; the empty string if it did not.

    It is sent in a thread that may be left behind, because nothing else ends the wait for a dead name server.
    """
    began = time.monotonic()
    reasons: list[str] = []
    thread = threading.Thread(target=lambda: reasons.append(perform(url, body)), daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_SECONDS)
        if time.monotonic() - began > (SECONDS_OF_SHUTDOWN if shutdown.exit_code else SECONDS):
            return f"no response within {time.monotonic() - began:.0f} seconds"
    return reasons[0] if reasons else "it could not be sent"


def perform(url: str, body: bytes | None) -> str:
    """Send the request; return why it failed, or the empty string."""
    handle = pycurl.Curl()
    try:
        _prepare(handle, url, body)
        handle.perform()
        status = handle.getinfo(pycurl.RESPONSE_CODE)
        return "" if 200 <= status < 300 else f"status code {status}"
    except pycurl.error as error:
        # curl's own text may quote the URL, which is a secret.
        return _REASONS.get(error.args[0], f"curl error {error.args[0]}")
    finally:
        handle.close()


def _prepare(handle: "pycurl.Curl", url: str, body: bytes | None) -> None:
    """Set the request. Certificates and proxies are those of crane, and no redirect is followed."""
    environ = process_environ()
    parts = urlsplit(url)
    handle.setopt(pycurl.URL, url)
    handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.NOPROXY, "")  # otherwise curl reads the variable itself
    handle.setopt(pycurl.PROXY, proxy_for(parts.scheme, parts.netloc.rpartition("@")[2], environ).encode())
    handle.setopt(pycurl.USERAGENT, USER_AGENT)
    handle.setopt(pycurl.TIMEOUT, SECONDS)
    handle.setopt(pycurl.WRITEFUNCTION, len)  # what it responds does not matter
    if certificates := ca_certificates(environ):
        handle.setopt(pycurl.CAINFO_BLOB, certificates)
        handle.setopt(pycurl.PROXY_CAINFO_BLOB, certificates)
    if body is not None:
        handle.setopt(pycurl.POST, 1)
        handle.setopt(pycurl.POSTFIELDS, body)
        handle.setopt(pycurl.HTTPHEADER, ["Content-Type: text/plain; charset=utf-8"])
