"""The CA bundle: one file with every certificate authority that crane would trust, built once per pass.

Each crane process parses every certificate of the system's bundle, and once more those of the system's directory. That is
half of what a crane look-up with TLS costs. A single file with each certificate once means the same to it, and the
client needs such a file anyway.
"""

import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from imageporter.system.errors import Problems, UserError
from imageporter.system.regular_files import TooLargeError, read_regular_file

# Go's (crypto/x509, root_linux.go): the first file that can be read, and every directory.
FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
DIRECTORIES = ("/etc/ssl/certs", "/etc/pki/tls/certs")
LARGEST = 32 << 20  # bytes: a bundle of all authorities has 0.3 MB

_PEM_ADVICE = "it needs PEM text, which begins with -----BEGIN CERTIFICATE-----"
_CERTIFICATE = re.compile(rb"^-----BEGIN CERTIFICATE-----[ \t]*\r?\n.+?^-----END CERTIFICATE-----", re.DOTALL | re.MULTILINE)


def build_ca_bundle(environ: Mapping[str, str], private: Path) -> Path | None:
    """Build the CA bundle in the directory `private`, as Go would read it with the variables `environ`; return its path.

    Returns None on other systems than Linux, and if no certificate is found. Raises UserError if there is no room.
    """
    certificates = ca_certificates(environ)
    if not certificates:
        return None
    bundle = private / "ca-bundle.pem"
    try:
        bundle.write_bytes(certificates)
        _empty_directory(bundle).mkdir()
    except OSError as error:
        line = f"TMPDIR: {private} cannot be written in: {error.strerror}; make room there, or name another directory"
        raise UserError([line]) from None
    return bundle


def ca_certificates(environ: Mapping[str, str]) -> bytes:
    """Return the certificates (PEM) that Go would trust with the variables `environ`, each once.

    Returns nothing on other systems than Linux, and if no certificate is found.
    """
    if sys.platform != "linux":
        return b""
    unique = dict.fromkeys(found for text in _texts(environ) for found in _CERTIFICATE.findall(text))
    return b"".join(certificate + b"\n" for certificate in unique)


def check_ca_variables(environ: Mapping[str, str], problems: Problems) -> None:
    """Add a problem if SSL_CERT_FILE or SSL_CERT_DIR is set, and cannot be read or contains no certificate."""
    if sys.platform != "linux":  # Go reads neither elsewhere
        return
    if path := environ.get("SSL_CERT_FILE"):
        try:
            if not _CERTIFICATE.search(read_regular_file(Path(path), LARGEST)):
                problems.add("SSL_CERT_FILE", f"{path!r} contains no certificate; {_PEM_ADVICE}")
        except TooLargeError:
            problems.add("SSL_CERT_FILE", f"{path!r} is larger than {LARGEST >> 20} MiB; {_PEM_ADVICE}")
        except OSError as error:
            problems.add("SSL_CERT_FILE", f"{path!r} cannot be read: {error.strerror}; correct the path, or mount the file")
    reasons = []
    for directory in filter(None, environ.get("SSL_CERT_DIR", "").split(":")):
        try:
            if any(map(_CERTIFICATE.search, _readable(Path(directory).iterdir()))):
                return  # one is enough
            reasons.append(f"{directory!r} contains no certificate; {_PEM_ADVICE}")
        except OSError as error:
            reasons.append(f"{directory!r} cannot be read: {error.strerror}; correct the path, or mount the directory")
    for reason in reasons:
        problems.add("SSL_CERT_DIR", reason)


def ca_variables(bundle: Path | None) -> dict[str, str]:
    """Return the variables that make crane trust `bundle` and nothing else; none if there is no bundle."""
    if bundle is None:
        return {}
    return {"SSL_CERT_FILE": str(bundle), "SSL_CERT_DIR": str(_empty_directory(bundle))}


def _empty_directory(bundle: Path) -> Path:
    return bundle.with_name("no-certificates")


def _texts(environ: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the content of the files that Go would read, if they can be read."""
    files = [environ["SSL_CERT_FILE"]] if environ.get("SSL_CERT_FILE") else FILES
    directories = environ["SSL_CERT_DIR"].split(":") if environ.get("SSL_CERT_DIR") else DIRECTORIES
    yield from itertools.islice(_readable(map(Path, files)), 1)
    for directory in map(Path, directories):
        with suppress(OSError):
            yield from _readable(sorted(directory.iterdir()))


def _readable(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        with suppress(OSError, TooLargeError):
            if path.is_file():
                yield read_regular_file(path, LARGEST)
