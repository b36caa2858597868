"""The accounts file, in both formats, read into Accounts."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, TypeAdapter

from imageporter.config import files
from imageporter.config.files import Location
from imageporter.config.settings import read_secret
from imageporter.model import reference
from imageporter.model.account import Account, Accounts
from imageporter.system.errors import Problems

STEMS = ("accounts", "auth")

_VARIABLE = re.compile(r"\$(?:\$|\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<bare>[A-Za-z_][A-Za-z0-9_]*))")


def _is_prefix(text: object) -> bool:
    try:
        return isinstance(text, str) and bool(reference.parse_prefix(text))
    except ValueError:
        return False


def _prefix(text: str) -> str:
    if not _is_prefix(text):  # parse_prefix would quote the text, which may be a misplaced password
        raise ValueError("is not a registry; write its host, like docker.io or localhost:5000, or host/namespace")
    return text


def _require_sendable(name: str, text: str) -> str:
    if not text:
        raise ValueError(f"is empty; give a {name}, or remove the account")
    if name == "username" and ":" in text:
        raise ValueError("has a colon, which no account can have")
    if any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in text):
        raise ValueError("has a line break or another control character in it; remove it")
    return text


def _username(text: str) -> str:
    return _require_sendable("username", text)


def _password(secret: SecretStr) -> SecretStr:
    _require_sendable("password", secret.get_secret_value())
    return secret


class Credentials(BaseModel):
    """The keys of an account in either format."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    username: Annotated[str, AfterValidator(_username)] | None = Field(None, description="$NAME takes it from the environment")
    password: Annotated[SecretStr, AfterValidator(_password)] | None = Field(None, description="likewise")
    insecure: bool = Field(default=False, description="without TLS, or with an unknown certificate")


class AccountEntry(Credentials):
    registry: Annotated[str, AfterValidator(_prefix)] = Field(description="a host, like docker.io, or host/namespace")


_LIST = TypeAdapter(list[Any])
_MAP = TypeAdapter(dict[Annotated[str, AfterValidator(_prefix)], Any])
_ENTRY = TypeAdapter(AccountEntry)
_CREDENTIALS = TypeAdapter(Credentials)
KEYS = ("registry", "username", "password", "insecure")


def find_accounts_file() -> Path | None:
    """Return the accounts file of the working directory, or None. An empty directory in its place hides no other file."""
    found = list(files.existing_files(STEMS))
    return next((path for path in found if not is_empty_directory(path)), found[0] if found else None)


def is_empty_directory(path: Path) -> bool:
    """Return whether `path` is an empty directory, as docker makes one where a mounted file is missing on the host."""
    try:
        return not any(path.iterdir())
    except OSError:
        return False


def load_accounts(path: Path, problems: Problems, environ: Mapping[str, str]) -> Accounts:
    """Read the accounts file `path`; see `validate_accounts`."""
    data = files.load_file(path, problems, shown=frozenset(KEYS))
    return Accounts({}, str(path)) if data is files.UNREADABLE else validate_accounts(data, Location(path), problems, environ)


def validate_accounts(data: Any, location: Location, problems: Problems, environ: Mapping[str, str]) -> Accounts:
    """Return the accounts in `data`, found at `location`: a list of `{registry, ...}`, or a map `{registry: {...}}`.

    `$NAME` and `${NAME}` in a username or password are taken from `environ`; `$$` is a dollar sign. Mistakes are added to
    `problems`, which never show a value.
    """
    found: dict[str, Account] = {}
    first: dict[str, Location] = {}
    for where, written, entry in _entries(data, location, problems):
        prefix = reference.parse_prefix(written)
        if (earlier := first.setdefault(prefix, where)) is not where:
            named = where["registry"] if isinstance(data, list) else where
            problems.add(named, f"{prefix} has an account at {earlier.inside} already; keep one")
        found[prefix] = _account(prefix, entry, where, problems, environ)
    return Accounts(found, str(location), isinstance(data, dict))


def _entries(data: Any, location: Location, problems: Problems) -> Iterator[tuple[Location, str, Credentials]]:
    """Yield the valid entries of either format, each with its location and its registry as written."""
    if isinstance(data, dict):
        if files.add_missing_brackets(data, KEYS, location, problems):
            return
        shown = frozenset(KEYS).union(key for key in data if _is_prefix(key))
        for key, value in (files.validate(_MAP, data, location, problems, (), shown) or {}).items():
            if credentials := files.validate(_CREDENTIALS, value, location[key], problems, KEYS[1:], shown):
                yield location[key], key, credentials
        return
    rows = files.validate(_LIST, data, location, problems, (), frozenset())
    for index, value in enumerate(rows or []):
        if entry := files.validate(_ENTRY, value, location[index], problems, KEYS, frozenset(KEYS)):
            yield location[index], entry.registry, entry


def _account(
    prefix: str, credentials: Credentials, where: Location, problems: Problems, environ: Mapping[str, str]
) -> Account:
    password = credentials.password.get_secret_value() if credentials.password else None
    values: dict[str, str | None] = {}
    for name, text in (("username", credentials.username), ("password", password)):
        try:
            values[name] = None if text is None else _require_sendable(name, expand_variables(text, environ))
        except ValueError as error:
            values[name] = ""
            problems.add(where[name], str(error))
    missing = [name for name, value in values.items() if value is None]
    if len(missing) == 1 or (missing and not credentials.insecure):
        for name in missing:
            problems.add(where[name], "is missing; add it")
    return Account(prefix, values["username"], values["password"], credentials.insecure)


def expand_variables(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with its variables `$NAME` and `${NAME}` taken from `environ`. Raises ValueError if one is not set."""

    def value(found: re.Match[str]) -> str:
        name = found["braced"] or found["bare"]
        if name is None:
            return "$"
        try:
            known = read_secret(name, environ)
        except ValueError as error:
            raise ValueError(f"names {name}, but {error}") from None
        if known is None:
            # `$Name`, or a name in the middle of other text, may be a part of a password.
            what = name if found[0] == text and name.isupper() else "a variable"
            raise ValueError(f"names {what}, which is not set; set it, or write $$ for a dollar sign")
        return known

    return _VARIABLE.sub(value, text)
