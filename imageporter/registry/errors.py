"""What crane's stderr means: its errors, typed."""

import re
from enum import Enum

_STATUS = re.compile(r"unexpected status code (\d+)")


class Kind(Enum):
    """What an error of crane means for the image; the value is how a log line says it."""

    NOT_FOUND = "not found"
    UNAUTHORIZED = "unauthorised"
    DENIED = "denied"
    RATE_LIMITED = "too many requests"
    TIMED_OUT = "timed out"
    UNREACHABLE = "unreachable"
    OTHER = "failed"


PERMANENT = frozenset({Kind.NOT_FOUND, Kind.UNAUTHORIZED, Kind.DENIED})

_STATUSES = {"401": Kind.UNAUTHORIZED, "403": Kind.DENIED, "404": Kind.NOT_FOUND, "429": Kind.RATE_LIMITED}
# No answer at all: Go's words for the name, the connection and the certificate.
_NO_ANSWER = re.compile(r": dial |: tls: |: x509: |: EOF\b|: proxyconnect |connection reset|to HTTPS client")
# A code stands after ": " in crane's errors; within a URL (a tag may be DENIED) nothing does.
_CODE = re.compile(r"(?:^|: )(TOOMANYREQUESTS|UNAUTHORIZED|DENIED|MANIFEST_UNKNOWN|NAME_UNKNOWN)\b")
_CODES = {
    "TOOMANYREQUESTS": Kind.RATE_LIMITED,
    "UNAUTHORIZED": Kind.UNAUTHORIZED,
    "DENIED": Kind.DENIED,
    "MANIFEST_UNKNOWN": Kind.NOT_FOUND,
    "NAME_UNKNOWN": Kind.NOT_FOUND,
}


class CraneError(Exception):
    """A crane call that did not succeed. The text is one line: `source not found: GET ...`.

    `host` is the registry that it is about; None where crane does not say.
    """

    def __init__(self, subject: str, kind: Kind, words: str, host: str | None = None) -> None:
        self.kind = kind
        self.words = words
        self.host = host
        super().__init__(f"{subject} {kind.value}: {words}")

    @property
    def permanent(self) -> bool:
        """Whether trying again cannot help."""
        return self.kind in PERMANENT


def crowded(told: str) -> str:
    """What to say where Python, sh or Go has `told` that no process or thread is to be had (EAGAIN); else nothing."""
    if not any(sign in told for sign in ("Resource temporarily unavailable", "new OS thread", "can't start new thread")):
        return ""
    return "no more processes are allowed here (docker's --pids-limit, ulimit -u); allow more, or lower PROBES and JOBS"


def error_words(stderr: str) -> str:
    """The words of crane's `Error:` line, with what a registry's answer may add; what stands before is noise."""
    return re.split(r"^Error: ", stderr.strip(), maxsplit=1, flags=re.MULTILINE)[-1]


def kind_of(words: str) -> Kind:
    """What an error means. A status that crane did not expect decides, since its body may say anything."""
    status = _STATUS.search(words)
    if _NO_ANSWER.search(words[: status.start()] if status else words):
        return Kind.UNREACHABLE
    if status:
        return _STATUSES.get(status[1], Kind.OTHER)
    code = _CODE.search(words)
    return _CODES[code[1]] if code else Kind.OTHER
