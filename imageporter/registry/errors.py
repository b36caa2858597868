"""Errors of registries, typed from an HTTP response or from crane's stderr."""

import re
from enum import Enum
from typing import Self

LONGEST_DETAIL = 500  # characters: a registry may answer with a whole page


class ErrorKind(Enum):
    """What an error means for an image. The value is the wording of log lines and reports."""

    NOT_FOUND = "not found"
    UNAUTHORIZED = "unauthorised"
    DENIED = "denied"
    RATE_LIMITED = "too many requests"
    TIMED_OUT = "timed out"
    WITHOUT_TLS = "without TLS"
    NOT_TRUSTED = "not trusted"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"
    OTHER = "failed"


# The user has to act first: the registry has no TLS, or its certificate is not trusted on this machine.
INSECURE = frozenset({ErrorKind.WITHOUT_TLS, ErrorKind.NOT_TRUSTED})
REFUSED = frozenset({ErrorKind.UNAUTHORIZED, ErrorKind.DENIED})
PERMANENT = frozenset({ErrorKind.NOT_FOUND, ErrorKind.REJECTED}) | REFUSED | INSECURE
SERVER_ERRORS = range(500, 600)

_KIND_OF_STATUS = {
    401: ErrorKind.UNAUTHORIZED,
    403: ErrorKind.DENIED,
    404: ErrorKind.NOT_FOUND,
    429: ErrorKind.RATE_LIMITED,
}
_STATUS = re.compile(r"unexpected status code (\d{3})")
# crane joins the errors of its attempts (HTTPS, then plain HTTP) with "; ".
_ATTEMPT = re.compile(r"; (?=[A-Z][A-Za-z]+ \"?https?://)")
_SPEAKS_HTTPS = re.compile(r": x509: |\b[A-Z]+ https://\S+: unexpected status code")
# The connection failed: Go's wording for the name, the connection and the certificate.
_NO_RESPONSE = re.compile(
    r": dial |: tls: |: x509: |: (?:unexpected )?EOF\b|: proxyconnect |connection reset"
    r"|handshake timeout|: i/o timeout|broken pipe|timeout awaiting response headers"
)
_RESPONSE = re.compile(r"(?:^|: )[A-Z]{3,} https?://\S+: ")
_AUTHORITY = re.compile(r'https?://([^/\s"]+)')
_WITHOUT_TLS = "server gave HTTP response to HTTPS client"
_CERTIFICATE = ": x509: "
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_URL_PATH = re.compile(r'(https?://[^/\s"]+)/[^\s"]*?(:?)(?=[\s"]|$)')
# In crane's errors a code follows ": "; in a URL (a tag may be named DENIED) it does not.
_CODE = re.compile(r"(?:^|: )(TOOMANYREQUESTS|UNAUTHORIZED|DENIED|MANIFEST_UNKNOWN|NAME_UNKNOWN)\b")
_KIND_OF_CODE = {
    "TOOMANYREQUESTS": ErrorKind.RATE_LIMITED,
    "UNAUTHORIZED": ErrorKind.UNAUTHORIZED,
    "DENIED": ErrorKind.DENIED,
    "MANIFEST_UNKNOWN": ErrorKind.NOT_FOUND,
    "NAME_UNKNOWN": ErrorKind.NOT_FOUND,
}
_HEAD_NOTE = " (HEAD responses have no body, use GET for details)"
_NO_MEMORY = re.compile(r"fatal error: [^\n]{0,100}memory|SIGSEGV: segmentation violation")  # Go's words
_NO_MORE_PROCESSES = ("Resource temporarily unavailable", "new OS thread", "can't start new thread")


class RegistryError(Exception):
    """A failed request to a registry. The text is one line: `source not found: GET https://...`.

    `subject` is what failed (`source`, `target`, `copy`, `login`) and `detail` the registry's or crane's text. `host` is
    the registry at fault, or None if crane does not name it. `status` is the HTTP status, if there was a response, and
    `retry_after` the registry's `Retry-After` in seconds. `account` is the account that was refused: `as alice`. `shared` is
    the part of `detail` that may be the same for many images, where that says more than the kind.
    """

    def __init__(  # noqa: PLR0913 (three of them by name)
        self,
        subject: str,
        kind: ErrorKind,
        detail: str,
        host: str | None = None,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        account: str | None = None,
        shared: str | None = None,
    ) -> None:
        self.subject = subject
        self.kind = kind
        self.detail = detail
        self.host = host
        self.status = status
        self.retry_after = retry_after
        self.account = account
        self.shared = shared
        self._suffix = f" ({account})" if account else ""
        super().__init__(f"{subject} {kind.value}: {detail}{self._suffix}")

    @classmethod
    def from_response(cls, subject: str, request: str, host: str, status: int, retry_after: float | None = None) -> Self:
        """Return the error of an HTTP response to `request` (`HEAD https://...`)."""
        kind = _KIND_OF_STATUS.get(status, ErrorKind.OTHER)
        detail = f"{request}: unexpected status code {status}"
        return cls(subject, kind, detail, host, status=status, retry_after=retry_after)

    @classmethod
    def from_crane_stderr(cls, subject: str, stderr: str, exit_code: int) -> Self:
        """Return the error that crane printed to `stderr` before it exited with `exit_code`."""
        detail = process_limit_advice(stderr) or _error_line(stderr) or f"crane exited with {exit_code}"
        # The last attempt decides, because for plain HTTP crane reports its HTTPS attempt first. But if that attempt got a
        # certificate or a status, the server speaks HTTPS, and only that attempt says what is wrong.
        attempts = _attempts(detail)
        attempt = next((one for one in attempts if _SPEAKS_HTTPS.search(one)), attempts[-1])
        status = _STATUS.search(attempt)
        kind = _kind_of(attempt, status)
        return cls(subject, kind, attempt if kind in INSECURE else detail, status=int(status[1]) if status else None)

    @property
    def is_permanent(self) -> bool:
        """Whether another attempt cannot help."""
        return self.kind in PERMANENT

    @property
    def reason(self) -> str:
        """The error without what only concerns one image, so that equal reasons can be counted."""
        if self.shared:
            return f"{self.subject} {self.kind.value}: {self.shared}"
        if self.is_permanent:
            return f"{self.subject} {self.kind.value}{self._suffix}"
        return _DIGEST.sub("sha256:...", _URL_PATH.sub(r"\1\2", str(self)))

    @property
    def concerns_registry(self) -> bool:
        """Whether the registry, and not the image, is the cause: a copy would fail as well."""
        return self.is_outage or self.kind is ErrorKind.RATE_LIMITED or self.kind in INSECURE

    @property
    def is_outage(self) -> bool:
        """Whether the registry itself is in trouble: it cannot be reached, does not respond, or answers 5xx."""
        return self.kind in {ErrorKind.UNREACHABLE, ErrorKind.TIMED_OUT} or self.status in SERVER_ERRORS


def _attempts(detail: str) -> list[str]:
    """Split crane's joined errors. A registry's body may look like another attempt, but at another host."""
    start, *others = _ATTEMPT.split(detail)
    first = _AUTHORITY.search(start)
    attempts = [[start]]
    for part in others:
        host = _AUTHORITY.search(part)
        if first and host and first[1] == host[1]:
            attempts.append([part])
        else:
            attempts[-1].append(part)
            first = first or host
    return ["; ".join(parts) for parts in attempts]


def insecure_advice(error: RegistryError) -> str:
    """Return what to do about an error of one of the kinds INSECURE, before the words for `"insecure": true`."""
    if error.kind is ErrorKind.WITHOUT_TLS:
        return "if it is meant to have no TLS, "
    if "unknown authority" in error.detail or "self-signed" in error.detail:
        return "set SSL_CERT_FILE to the certificate of its authority or, to trust any certificate, "
    return "correct its certificate or its name or, to trust any certificate, "


def process_limit_advice(text: str) -> str:
    """Return what to do if `text` (of Python, sh or Go) means that no process or thread can be started (EAGAIN); else ""."""
    if _NO_MEMORY.search(text):
        return "the registry's response is too large: crane needs too much memory to read it"
    if not any(sign in text for sign in _NO_MORE_PROCESSES):
        return ""
    return "no more processes are allowed here (docker's --pids-limit, ulimit -u); allow more, or lower PROBES and JOBS"


def _error_line(stderr: str) -> str:
    """Return crane's `Error:` line and what follows it (a registry's body may span lines); what precedes it is noise."""
    line = re.split(r"^Error: ", stderr.strip(), maxsplit=1, flags=re.MULTILINE)[-1]
    return line.replace(_HEAD_NOTE, "")


def _kind_of(attempt: str, status: "re.Match[str] | None") -> ErrorKind:
    """Return the kind of one failed attempt. A status that crane did not expect decides, since a body may say anything."""
    before = attempt[: status.start()] if status else attempt
    # `GET https://...: CODE: ...` quotes a response, and `Get "https://...": ...` says that there was none.
    response = _RESPONSE.search(attempt)
    connecting = attempt[: response.start()] if response else attempt
    if "proxyconnect" not in connecting:
        if _WITHOUT_TLS in connecting:
            return ErrorKind.WITHOUT_TLS
        if _CERTIFICATE in connecting:
            return ErrorKind.NOT_TRUSTED
    if _NO_RESPONSE.search(before):
        return ErrorKind.UNREACHABLE
    if status:
        return _KIND_OF_STATUS.get(int(status[1]), ErrorKind.OTHER)
    code = _CODE.search(attempt)
    return _KIND_OF_CODE[code[1]] if code else ErrorKind.OTHER
