"""Accounts: which username and password a reference is looked up with, and which registries may be insecure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from imageporter.model.reference import Reference


@dataclass(frozen=True, slots=True)
class Account:
    """The settings of `prefix`: a registry (a normalised host), or a part of one (`host/namespace`).

    `username` and `password` are both None if the entry only sets `insecure`.
    """

    prefix: str
    username: str | None
    password: str | None = field(repr=False)
    insecure: bool = False

    @property
    def host(self) -> str:
        """The registry that the account belongs to."""
        return self.prefix.partition("/")[0]


@dataclass(frozen=True)
class Accounts:
    """All accounts, by prefix. `file` is where they are written, as a list or as a map; None if there is no such file."""

    by_prefix: Mapping[str, Account]
    file: str | None = None
    is_map: bool = False

    def find(self, image: Reference) -> Account | None:
        """Return the account with the longest prefix that covers `image`, on path boundaries; None means anonymous access."""
        prefix = image.repository
        while prefix not in self.by_prefix and "/" in prefix:
            prefix = prefix.rpartition("/")[0]
        return self.by_prefix.get(prefix)

    def is_insecure(self, image: Reference) -> bool:
        """Return whether `image` may be reached without TLS, or with an unknown certificate."""
        account = self.find(image)
        return account is not None and account.insecure

    def insecure_advice(self, image: Reference) -> str:
        """Return what to write into the accounts file, so that the registry of `image` may be insecure."""
        file = self.file or "accounts.json"
        if account := self.find(image):
            return f'add "insecure": true to the account of {account.prefix} in {file}'
        if self.is_map:
            return f'add "{image.host}": {{"insecure": true}} to {file}'
        entry = f'{{"registry": "{image.host}", "insecure": true}}'
        return f"add {entry} to the list in {file}" if self.file else f"write [{entry}] into {file}"

    def __iter__(self) -> Iterator[Account]:
        return iter(self.by_prefix.values())
