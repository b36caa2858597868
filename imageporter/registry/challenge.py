"""What a registry may ask of a client: plain HTTP, and tokens from a realm.

The rules are those of go-containerregistry, which crane uses: `Registry.Scheme` in pkg/name/registry.go, and
`validateRealmURL` in pkg/v1/remote/transport/bearer.go.
"""

import ipaddress
import re
from typing import NamedTuple

_PLAIN_HTTP_HOST = re.compile(
    r"localhost:.*|.*\.localhost(:\d{1,5})?|127\.0\.0\.1(:\d{1,5})?|::1|\[::1\](:\d{1,5})?", re.ASCII
)
_RFC_1918 = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
_PARAMETER = re.compile(r' *([A-Za-z_]+)=(?:"([^"\\]*)"|([\w.~+/-]+)) *(?:,|$)', re.ASCII)
# Stricter than a URL parser, so that no two parsers can disagree about the host.
_REALM = re.compile(
    r"(https?)://((\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)(?::[0-9]{1,5})?)"
    r"(?:[/?][A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?"
)
_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)")


class Bearer(NamedTuple):
    """A challenge that wants a token of the service `realm`."""

    realm: str
    service: str


def falls_back_to_http(host: str) -> bool:
    """Return whether crane tries plain HTTP with `host`, if HTTPS fails, although nobody called it insecure."""
    if _PLAIN_HTTP_HOST.fullmatch(host):
        return True
    try:
        ip = ipaddress.IPv4Address(host.partition(":")[0])
    except ValueError:
        return False
    return any(ip in network for network in _RFC_1918)


def parse_bearer(challenge: str) -> Bearer | None:
    """Return a `WWW-Authenticate: Bearer ...`; None if it has no realm or is odd."""
    parameters: dict[str, str] = {}
    position = len("Bearer")
    while position < len(challenge):
        found = _PARAMETER.match(challenge, position)
        if not found or found[1].lower() in parameters:
            return None
        parameters[found[1].lower()] = found[2] or found[3] or ""
        position = found.end()
    realm = parameters.get("realm")
    return Bearer(realm, parameters.get("service", "")) if realm else None


def is_allowed_realm(realm: str, host: str, *, plain_http: bool) -> bool:
    """Return whether `realm` may get the credentials for the registry `host` (validateRealmURL).

    It is https, or http if the registry itself speaks plain HTTP, and no address of a private or special network, unless
    it is the registry's own.
    """
    parts = _REALM.fullmatch(realm)
    if not parts or (parts[1] == "http" and not plain_http):
        return False
    if parts[2] == host:
        return True
    if not parts[3].startswith("[") and not _NUMBER.fullmatch(parts[3]):
        return True
    try:
        ip = ipaddress.ip_address(parts[3].strip("[]"))
    except ValueError:  # a spelling of an address that only some parsers read
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return not (ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)
