"""The proxy of a request, by the variables HTTPS_PROXY, HTTP_PROXY and NO_PROXY.

They mean what they mean to crane. The rules are those of Go's golang.org/x/net/http/httpproxy.
"""

import ipaddress
import re
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from imageporter.system.errors import Problems

_PORTS = {"http": "80", "https": "443"}
_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]+):([^:\[\]]*)")
_NO_URL = re.compile(r"[\s\x00-\x1f\x7f\\]|%(?![0-9A-Fa-f]{2})")
_CIDR = re.compile(r"[0-9a-f.:]+/[0-9]{1,3}")

_IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def proxy_for(scheme: str, authority: str, environ: Mapping[str, str]) -> str:
    """Return the URL of the proxy for requests to `scheme://authority`; "" if they go directly.

    `authority` is a host, with or without a port. The variables are read in upper case first, then in lower case.
    Loopback is never proxied. The URL may hold a password.
    """
    proxy = _variable(environ, f"{scheme.upper()}_PROXY")
    host, port = _split(authority.lower())
    if not proxy or not _is_proxied(host.strip("[]"), port or _PORTS[scheme], _variable(environ, "NO_PROXY")):
        return ""
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    # Go lets a SOCKS proxy resolve the name. curl calls that socks5h.
    return re.sub(r"^socks5://", "socks5h://", proxy, flags=re.IGNORECASE)


def check_proxy_variables(environ: Mapping[str, str], problems: Problems) -> None:
    """Add a problem for each proxy that is not a URL: crane would ignore it, and connect directly. No value is shown."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY"):
        proxy = _variable(environ, name)
        if proxy and not _is_proxy(proxy if "://" in proxy else f"http://{proxy}"):
            problems.add(name, "is not the URL of a proxy; write one like http://proxy.example.com:3128")


def _is_proxy(url: str) -> bool:
    if _NO_URL.search(url):  # Go rejects it, and Python does not
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https", "socks5", "socks5h"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.lower()) or ""


def _is_proxied(host: str, port: str, no_proxy: str) -> bool:
    """Return whether requests to `host` and `port` use a proxy. `no_proxy` is a list of exceptions, with commas."""
    ip = _ip(host)
    if host == "localhost" or (ip and ip.is_loopback):
        return False
    return not any(_matches(entry.strip().lower(), host, port, ip) for entry in no_proxy.split(","))


def _matches(entry: str, host: str, port: str, ip: _IPAddress | None) -> bool:
    """Return whether an entry of NO_PROXY covers `host` and `port`: `*`, a CIDR, an address or a domain."""
    if entry == "*":
        return True
    if _CIDR.fullmatch(entry):
        with suppress(ValueError):
            network = ipaddress.ip_network(entry, strict=False)
            return ip is not None and ip in network
    name, wanted_port = _split(entry)
    if wanted_port not in {"", port}:
        return False
    address = _ip(name)
    if address or ip:
        return address == ip
    if name.startswith((".", "*.")):  # subdomains only
        return host.endswith(name.removeprefix("*"))
    return f".{host}".endswith(f".{name}")


def _split(text: str) -> tuple[str, str]:
    """Return the host and the port of `host:port` or `[address]:port`; the whole text and "" if it has no port."""
    parts = _HOST_AND_PORT.fullmatch(text)
    return (parts[1].strip("[]"), parts[2]) if parts else (text, "")


def _ip(host: str) -> _IPAddress | None:
    """Return `host` as an address, an IPv4 address where it is mapped into IPv6; None if it is a name."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip
