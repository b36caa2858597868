"""The accounts, of both formats -> Accounts: which username and password a reference gets, and which may be insecure."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, TypeAdapter

from imageporter.config.configuration import files
from imageporter.model import reference
from imageporter.model.reference import Reference
from imageporter.config.settings import secret_variable

STEMS = ("accounts", "auth")

_VARIABLE = re.compile(r"\$(?:\$|\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<bare>[A-Za-z_][A-Za-z0-9_]*))")


def _is_prefix(text: object) -> bool:
    try:
        return isinstance(text, str) and bool(reference.parse_prefix(text))
    except ValueError:
        return False


def _prefix(text: str) -> str:
    if not _is_prefix(text):  # the words of parse_prefix quote the text, which may hold a password that slipped there
        raise ValueError("is not a registry; write its host, like docker.io or localhost:5000, or host/namespace")
    return text


def _sendable(name: str, text: str) -> str:
    if not text:
        raise ValueError(f"is empty; give a {name}, or remove the account")
    if name == "username" and ":" in text:
        raise ValueError("has a colon, which no account can have")
    if any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in text):
        raise ValueError("has a line break or another control character in it; remove it")
    return text


def _username(text: str) -> str:
    return _sendable("username", text)


def _password(secret: SecretStr) -> SecretStr:
    _sendable("password", secret.get_secret_value())
    return secret


class Entry(BaseModel):
    """What an account is, in either format."""

    model_config = ConfigDict(extra="forbid", strict=True)

    username: Annotated[str, AfterValidator(_username)] | None = Field(None, description="$NAME takes it from the environment")
    password: Annotated[SecretStr, AfterValidator(_password)] | None = Field(None, description="likewise")
    insecure: bool = Field(default=False, description="without TLS, or with a certificate that nobody knows")


class Row(Entry):
    registry: Annotated[str, AfterValidator(_prefix)] = Field(description="a host, like docker.io, or host/namespace")


_LIST = TypeAdapter(list[Any])
_MAP = TypeAdapter(dict[Annotated[str, AfterValidator(_prefix)], Any])
_ROW = TypeAdapter(Row)
_ENTRY = TypeAdapter(Entry)
SCHEMA: TypeAdapter[Any] = TypeAdapter(list[Row] | dict[str, Entry])
KEYS = ("registry", "username", "password", "insecure")


@dataclass(frozen=True, slots=True)
class Account:
    """What applies to `prefix`, a registry (a normalised host) or a part of one (`host/namespace`).

    `username` and `password` are both None where there is no account, but only `insecure`.
    """

    prefix: str
    username: str | None
    password: str | None = field(repr=False)
    insecure: bool = False

    @property
    def host(self) -> str:
        """The registry that the account is for."""
        return self.prefix.partition("/")[0]


@dataclass(frozen=True)
class Accounts:
    """All accounts, by prefix."""

    by_prefix: Mapping[str, Account]

    def of(self, image: Reference) -> Account | None:
        """The account of the longest prefix that covers `image`, on path borders; None for anonymous access."""
        prefix = image.repository
        while prefix not in self.by_prefix and "/" in prefix:
            prefix = prefix.rpartition("/")[0]
        return self.by_prefix.get(prefix)

    def __iter__(self) -> Iterator[Account]:
        return iter(self.by_prefix.values())


def find() -> Path | None:
    """The accounts file of the working directory, or None."""
    return files.find(STEMS)


def read(path: Path, mistakes: list[str], environ: Mapping[str, str]) -> Accounts:
    """Read the accounts file `path`; see `check`."""
    data = files.load(path, mistakes, shown=frozenset(KEYS))
    return Accounts({}) if data is files.UNREADABLE else check(data, files.Place(path), mistakes, environ)


def check(data: Any, place: files.Place, mistakes: list[str], environ: Mapping[str, str]) -> Accounts:
    """The accounts in `data`, which stands at `place`: a list of `{registry, ...}`, or a map `{registry: {...}}`.

    `$NAME` and `${NAME}` in a username or password come from `environ`, `$$` is a dollar sign. What is
    wrong is added to `mistakes`, and never shows a value.
    """
    found: dict[str, Account] = {}
    first: dict[str, files.Place] = {}
    for where, written, entry in _entries(data, place, mistakes):
        prefix = reference.parse_prefix(written)
        if (earlier := first.setdefault(prefix, where)) is not where:
            named = where["registry"] if isinstance(data, list) else where
            mistakes.append(f"{named}: {prefix} has an account at {earlier.inside} already; keep one")
        found[prefix] = _account(prefix, entry, where, mistakes, environ)
    return Accounts(found)


def _entries(data: Any, place: files.Place, mistakes: list[str]) -> Iterator[tuple[files.Place, str, Entry]]:
    """The entries of either format that are right in themselves, each with its place and its registry as written."""
    if isinstance(data, dict):
        shown = frozenset(KEYS).union(key for key in data if _is_prefix(key))
        for key, value in (files.check(_MAP, data, place, mistakes, (), shown) or {}).items():
            if entry := files.check(_ENTRY, value, place[key], mistakes, KEYS[1:], shown):
                yield place[key], key, entry
        return
    rows = files.check(_LIST, data, place, mistakes, (), frozenset())
    for index, value in enumerate(rows or []):
        if row := files.check(_ROW, value, place[index], mistakes, KEYS, frozenset(KEYS)):
            yield place[index], row.registry, row


def _account(prefix: str, entry: Entry, where: files.Place, mistakes: list[str], environ: Mapping[str, str]) -> Account:
    given = {"username": entry.username, "password": entry.password.get_secret_value() if entry.password else None}
    values: dict[str, str | None] = {}
    for name, text in given.items():
        try:
            values[name] = None if text is None else _sendable(name, expanded(text, environ))
        except ValueError as error:
            values[name] = ""
            mistakes.append(f"{where[name]}: {error}")
    missing = [name for name, value in values.items() if value is None]
    if len(missing) == 1 or (missing and not entry.insecure):
        mistakes.extend(f"{where[name]}: is missing; add it" for name in missing)
    return Account(prefix, values["username"], values["password"], entry.insecure)


def expanded(text: str, environ: Mapping[str, str]) -> str:
    """`text` with the variables `$NAME` and `${NAME}` in it, from `environ`. Raises ValueError where one is not set."""

    def value(found: re.Match[str]) -> str:
        name = found["braced"] or found["bare"]
        if name is None:
            return "$"
        try:
            known = secret_variable(name, environ)
        except ValueError as error:
            raise ValueError(f"names {name}, but {error}") from None
        if known is None:
            # `$Name`, or a name amid other text, may be a piece of a password.
            what = name if found[0] == text and (found["braced"] or name.isupper()) else "a variable"
            raise ValueError(f"names {what}, which is not set; set it, or write $$ for a dollar sign")
        return known

    return _VARIABLE.sub(value, text)
