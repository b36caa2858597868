"""crane's credentials: a DOCKER_CONFIG for each set of references, with their accounts and no others.

crane looks up the exact `host/repository`, then `host`. For a host it also takes any `host/...` key, so one namespace's
password would reach another. Hence an account that is alone on its host is written under the host. Two accounts of one
host, or an account next to anonymous access, are written under the exact repositories, with an empty entry under the host
for everything else.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from imageporter.model.account import Account, Accounts
from imageporter.model.reference import DOCKER_HUB, Reference
from imageporter.registry.errors import ErrorKind, RegistryError

# go-containerregistry's (pkg/authn/keychain.go).
DOCKER_HUB_REGISTRY = "index.docker.io"
DOCKER_HUB_KEY = "https://index.docker.io/v1/"
CONFIG = "config.json"
PLACEHOLDER = "imageporter"  # the username with which `crane auth login` is run


class CraneCredentials:
    """Directories for DOCKER_CONFIG below `private`, a directory that only this user can read."""

    def __init__(self, private: Path, accounts: Accounts) -> None:
        self._private = private
        self._accounts = accounts
        self._entries: dict[str, dict[str, str]] = {}

    def login_directory(self, account: Account) -> Path:
        """Return the DOCKER_CONFIG into which `crane auth login` writes `account`."""
        return self._directory(f"login {account.prefix}", {})

    def directory(self, *images: Reference) -> Path:
        """Return the DOCKER_CONFIG for a crane call on `images`."""
        accounts = {image: self._accounts.find(image) for image in images}
        entries: dict[str, Any] = {}
        for image, account in accounts.items():
            on_same_host = {other for one, other in accounts.items() if one.host == image.host}
            if len(on_same_host) == 1:
                entries |= {_host_key(image): self._entry(account)} if account else {}
            else:
                entries |= {_repository_key(image): self._entry(account)}
                entries.setdefault(_host_key(image), {})
        return self._directory(json.dumps(entries, sort_keys=True), entries)

    def _entry(self, account: Account | None) -> dict[str, str]:
        """Return the entry that `crane auth login` wrote for `account`; an empty entry means anonymous access."""
        if account is None or account.username is None:
            return {}
        if account.prefix not in self._entries:
            config = json.loads((self.login_directory(account) / CONFIG).read_text())
            (entry,) = config["auths"].values()
            _, _, password = base64.b64decode(entry["auth"]).partition(b":")
            auth = base64.b64encode(f"{account.username}:".encode(errors="surrogateescape") + password).decode()
            self._entries[account.prefix] = {"auth": auth}
        return self._entries[account.prefix]

    def _directory(self, name: str, entries: dict[str, Any]) -> Path:
        """Return the directory for `name`, which is created with `entries` the first time. Raises RegistryError."""
        directory = self._private / hashlib.sha256(name.encode()).hexdigest()[:32]
        # Without a config.json crane would fall back to podman's.
        config = directory / CONFIG
        if not config.exists():
            try:
                directory.mkdir(mode=0o700, exist_ok=True)
                unfinished = directory / "new"
                unfinished.touch(mode=0o600)
                unfinished.write_text(json.dumps({"auths": entries}))
                unfinished.rename(config)
            except OSError as error:
                text = f"{self._private} cannot be written in: {error.strerror}; make room there"
                raise RegistryError("TMPDIR", ErrorKind.OTHER, text) from None
        return directory


def _host_key(image: Reference) -> str:
    return DOCKER_HUB_KEY if image.host == DOCKER_HUB else image.host


def _repository_key(image: Reference) -> str:
    return f"{registry_of(image)}/{image.path}"


def registry_of(image: Reference) -> str:
    """Return the host that crane sends requests for `image` to, and names in its errors."""
    return DOCKER_HUB_REGISTRY if image.host == DOCKER_HUB else image.host
