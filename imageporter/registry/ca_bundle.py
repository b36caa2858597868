"""The authorities that crane trusts, put together once a pass.

Each crane reads, and takes apart, every certificate of the system's bundle and once more of the system's directory.
That is half of what a look-up with TLS costs. One file with each certificate once means the same to it.
"""

import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

# As Go has them (crypto/x509, root_linux.go): the first file that can be read, and every directory.
FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
DIRECTORIES = ("/etc/ssl/certs", "/etc/pki/tls/certs")

_CERTIFICATE = re.compile(rb"^-----BEGIN CERTIFICATE-----\r?\n.+?^-----END CERTIFICATE-----", re.DOTALL | re.MULTILINE)


def put_together(environ: Mapping[str, str], private: Path) -> dict[str, str]:
    """Variables that make crane trust, from one file in `private`, all that it trusts with the variables `environ`.

    No variables where that is not Linux's way, or no certificate is found.
    """
    if sys.platform != "linux":
        return {}
    unique = dict.fromkeys(found for text in _texts(environ) for found in _CERTIFICATE.findall(text))
    if not unique:
        return {}
    bundle, nothing = private / "authorities.pem", private / "no-authorities"
    bundle.write_bytes(b"\n".join(unique) + b"\n")
    nothing.mkdir()
    return {"SSL_CERT_FILE": str(bundle), "SSL_CERT_DIR": str(nothing)}


def _texts(environ: Mapping[str, str]) -> Iterator[bytes]:
    """The content of the files that Go would read, where they can be read."""
    files = [environ["SSL_CERT_FILE"]] if environ.get("SSL_CERT_FILE") else FILES
    directories = environ["SSL_CERT_DIR"].split(":") if environ.get("SSL_CERT_DIR") else DIRECTORIES
    yield from itertools.islice(_readable(map(Path, files)), 1)
    for directory in map(Path, directories):
        with suppress(OSError):
            yield from _readable(sorted(directory.iterdir()))


def _readable(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        with suppress(OSError):
            if path.is_file():
                yield path.read_bytes()
