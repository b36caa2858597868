"""The keychains that crane is given: in each, the accounts of the references at hand and no other.

crane looks for the exact `host/repository`, then for `host`; for a host it also takes what stands under any
`host/...`, so that one namespace's password would reach another. Hence: one account alone stands under its
host; two accounts of one host, or one beside anonymous access, stand under the exact repositories, with an
empty entry under the host that answers for all others.
"""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from imageporter.config.accounts_file import Account, Accounts
from imageporter.model.reference import DOCKER_HUB, Reference

# As go-containerregistry has them (pkg/authn/keychain.go).
DOCKER_HUB_REGISTRY = "index.docker.io"
DOCKER_HUB_KEY = "https://index.docker.io/v1/"
CONFIG = "config.json"


class Keychain:
    """Directories for DOCKER_CONFIG below `private`, a directory that nobody else can read."""

    def __init__(self, private: Path, accounts: Accounts) -> None:
        self.accounts = accounts
        self._private = private
        self._lock = threading.Lock()

    def login_folder(self, account: Account) -> Path:
        """Where `crane auth login` puts `account`."""
        return self._folder(f"login {account.prefix}", {})

    def folder(self, *images: Reference) -> Path:
        """The DOCKER_CONFIG for a call on `images`."""
        accounts = {image: self.accounts.of(image) for image in images}
        entries: dict[str, Any] = {}
        for image, account in accounts.items():
            neighbours = {other for one, other in accounts.items() if one.host == image.host}
            if len(neighbours) == 1:
                entries |= {_host_key(image): self._entry(account)} if account else {}
            else:
                entries |= {_repository_key(image): self._entry(account)}
                entries.setdefault(_host_key(image), {})
        return self._folder(json.dumps(entries, sort_keys=True), entries)

    def _entry(self, account: Account | None) -> dict[str, str]:
        """What crane wrote down when it logged `account` in; an empty entry is anonymous access."""
        if account is None or account.username is None:
            return {}
        (entry,) = json.loads((self.login_folder(account) / CONFIG).read_text())["auths"].values()
        return dict(entry)

    def _folder(self, name: str, entries: dict[str, Any]) -> Path:
        """The folder for what `name` stands for, made with `entries` the first time."""
        folder = self._private / hashlib.sha256(name.encode()).hexdigest()[:32]
        with self._lock:
            if not folder.exists():
                new = folder.with_suffix(".new")
                new.mkdir(mode=0o700)
                # Without a config.json crane would fall back on podman's.
                config = new / CONFIG
                config.touch(mode=0o600)
                config.write_text(json.dumps({"auths": entries}))
                new.rename(folder)
        return folder


def _host_key(image: Reference) -> str:
    return DOCKER_HUB_KEY if image.host == DOCKER_HUB else image.host


def _repository_key(image: Reference) -> str:
    return f"{registry_of(image)}/{image.path}"


def registry_of(image: Reference) -> str:
    """The host that crane asks for `image`, and names in its errors."""
    return DOCKER_HUB_REGISTRY if image.host == DOCKER_HUB else image.host
