"""Image references: docker's grammar, normalised.

The grammar is that of distribution/reference (`regexp.go`, `normalize.go`), which docker itself uses.
"""

import functools
import re
import sys
from dataclasses import dataclass, replace

DOCKER_HUB = "docker.io"
DEFAULT_TAG = "latest"
# Begins the tags of signatures and the like, which `crane ls --omit-digest-tags` leaves out.
DIGEST_TAG = "sha256-"
MAX_NAME = 255
SHORTEST_PATH = 2  # crane's rule, not docker's
DOCKER_HUB_PARTS = 2  # namespace/repository

_HOST_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_HOST_PART}(?:\.{_HOST_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")
_HEX64 = re.compile(r"[a-f0-9]{64}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_GLOB = re.compile(r"(?=.*[*?])[A-Za-z0-9_.*?-]+")
_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@(?!sha\d+:[0-9a-fA-F]*(?:,[^@/]*)?\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reference:
    """A normalised reference: `docker.io/library/busybox:latest` has a host, a path and a tag.

    `tag` and `digest` are None if the text has none; the caller decides what that means.
    """

    host: str
    path: str
    tag: str | None = None
    digest: str | None = None

    @property
    def repository(self) -> str:
        """Host and path, as crane accepts them: `docker.io/library/busybox`."""
        return f"{self.host}/{self.path}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"

    def at(self, digest: str) -> "Reference":
        """Return the same repository with only a `digest` (`repository@sha256:...`)."""
        return replace(self, tag=None, digest=digest)


@functools.lru_cache(maxsize=1024)  # each text is parsed when it is validated, and again for its rule
def parse(text: str) -> Reference:
    """Parse a reference as docker does, and normalise it.

    `busybox` becomes `docker.io/library/busybox`; `index.docker.io` becomes `docker.io`; a host's
    letters become small. Raises ValueError with a text that can follow "what: ".
    """
    _no_space_around(text, "host/repository:tag")
    if _SCHEME.match(text):
        raise ValueError(f"{shown(text)!r} begins with a scheme; write host/repository:tag, without it")
    name, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise ValueError(f"{shown(text)!r} has a digest that is not sha256: and 64 hexadecimal digits")
    first, slash, rest = name.partition("/")
    host, remainder = (parse_host(first), rest) if slash and _is_host(first) else (DOCKER_HUB, name)
    path, colon, tag = remainder.partition(":")
    if colon:
        parse_tag(tag, text)
    # Interned, because thousands of references share their host, and often their path or their tag.
    return Reference(sys.intern(host), sys.intern(_parse_path(text, host, path)), sys.intern(tag) or None, digest or None)


def _parse_path(text: str, host: str, path: str) -> str:
    """Return the normalised path of `text` on `host`. Raises ValueError like `parse`."""
    if not _PATH.fullmatch(path):
        advice = "; a repository is written in small letters" if path != path.lower() else ""
        if not text.isascii():
            advice = "; it has a letter or sign that no reference has, perhaps a full-width one like '\uff1a'"
        raise ValueError(f"{shown(text)!r} is not an image reference (host/repository:tag){advice}")
    if host == DOCKER_HUB and "/" not in path:
        if _HEX64.fullmatch(path):
            raise ValueError(f"{text!r} is an image ID, not a reference; write host/repository:tag")
        path = f"library/{path}"
    if len(path) < SHORTEST_PATH:
        raise ValueError(f"{text!r} has a repository of one letter, which crane does not take; give it a longer name")
    if len(host) + 1 + len(path) > MAX_NAME:
        raise ValueError(f"{text[:40]!r}... is longer than {MAX_NAME} characters")
    if host == DOCKER_HUB and path.count("/") >= DOCKER_HUB_PARTS:
        first = text.partition("/")[0]
        advice = f"if {first} is a registry, write its host with a dot or a port, like {first}.example.com or {first}:443"
        advice = "correct it" if _is_host(first) else advice
        raise ValueError(f"{shown(text)!r} cannot be on Docker Hub, where a name has one or two parts; {advice}")
    return path


def parse_host(text: str) -> str:
    """Parse a registry's host, with its port if there is one, and normalise it.

    Raises ValueError with a text that can follow "what: ".
    """
    _no_space_around(text, "docker.io or localhost:5000")
    if not _HOST.fullmatch(text):
        raise ValueError(f"{shown(text)!r} is not a registry; write its host alone, like docker.io or localhost:5000")
    host = text.lower()
    # Docker reads a host also from capital letters (`REG/app`), crane does not: it would ask Docker Hub.
    if not ({".", ":"} & set(host) or host == "localhost"):
        raise ValueError(
            f"{text!r} has neither a dot nor a port; write its whole name (docker.io for Docker Hub), or {text}:443"
        )
    return DOCKER_HUB if host == f"index.{DOCKER_HUB}" else host


def is_digest(text: str) -> bool:
    """Return whether `text` is a digest of the one algorithm that crane supports."""
    return bool(_DIGEST.fullmatch(text))


def is_tag(text: str) -> bool:
    """Return whether `text` is a valid tag."""
    return bool(_TAG.fullmatch(text))


def parse_tag(tag: str, text: str) -> str:
    """Parse the tag of `text`. Raises ValueError with a text that can follow "what: "."""
    if not is_tag(tag):
        advice = ""
        if _GLOB.fullmatch(tag) and "," not in text:
            advice = f"; as a source, all tags like it are :/{_glob_pattern(tag)}/ (with no tag at the target)"
        raise ValueError(f"{shown(text)!r} has a tag that is not 1 to 128 letters, digits, '_', '.' or '-'{advice}")
    return tag


def _glob_pattern(glob: str) -> str:
    """Return the regular expression of a shell pattern: `^1[.]` of `1.*` (a backslash would be special in JSON)."""
    pattern = "".join({"*": ".*", "?": ".", ".": "[.]"}.get(sign, sign) for sign in glob)
    return f"^{pattern}$".removesuffix(".*$").removeprefix("^.*").removeprefix("^" if pattern == ".*" else "") or "."


def parse_prefix(text: str) -> str:
    """Parse a registry, or a part of one (`quay.io`, `quay.io/coreos`), and normalise it.

    Raises ValueError with a text that can follow "what: ".
    """
    host, slash, path = text.partition("/")
    if slash and not _PATH.fullmatch(path):
        raise ValueError(f"{shown(text)!r} is not a registry, or host/namespace")
    return f"{parse_host(host)}{slash}{path}"


def parse_path(text: str) -> str:
    """Parse a namespace, or another path without its registry. Raises ValueError with what is wrong."""
    if not _PATH.fullmatch(text):
        raise ValueError(f"{shown(text)!r} is not a namespace; write it in small letters, like library or team/app")
    return text


def shown(text: str) -> str:
    """Return `text` as an error may show it: without the password of a `user:password@host`."""
    return _USERINFO.sub(lambda found: f"{found[1] or ''}***@", text)


def _no_space_around(text: str, example: str) -> None:
    if not text.strip():
        raise ValueError(f"is empty; write one, like {example}")
    if text != text.strip():
        raise ValueError(f"{shown(text)!r} begins or ends with white space; remove it")


def _is_host(first: str) -> bool:
    """Return whether the part before the first slash is a host (docker's splitDockerDomain)."""
    return bool({".", ":"} & set(first)) or first == "localhost" or first != first.lower()
