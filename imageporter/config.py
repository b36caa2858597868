"""Which files the settings mean, and what stands in them: two files, or one for both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loguru import logger
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from imageporter import accounts, files, rules
from imageporter.accounts import Accounts
from imageporter.rules import Rule
from imageporter.settings import MOST_AT_ONCE, MOST_RETRIES, Settings, process_environ, with_file

STEMS = ("config",)
# image-syncer's own file, where its hook and its pass are configured.
SYNC_STEM = "configs/sync"
HOOK_KEYS = frozenset({"app", "registry"})
_SYNC_VALUES = ("routineNum", "retryCount")


class _Sync(BaseModel):
    """What the pass takes from `configs/sync.yaml`."""

    model_config = ConfigDict(extra="ignore", strict=True)

    routine_num: int | None = Field(None, alias="routineNum", ge=1, le=MOST_AT_ONCE)
    retry_count: int | None = Field(None, alias="retryCount", ge=0, le=MOST_RETRIES)

    def values(self) -> dict[str, int]:
        """The settings that the file gives."""
        given = {"jobs": self.routine_num, "retries": self.retry_count}
        return {name: value for name, value in given.items() if value is not None}


class _SyncFile(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    sync: _Sync = _Sync()


class _Combined(BaseModel):
    """Accounts and images in one file, as image-syncer's `--config` takes them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    auth: Any = None
    images: Any
    sync: _Sync = _Sync()


class _Whole(_Combined):
    """The same with its parts, for the schema."""

    auth: dict[str, accounts.Entry] | list[accounts.Row] = {}
    images: dict[str, rules.Targets] | list[rules.Row]


SCHEMA: TypeAdapter[Any] = TypeAdapter(_Whole)
_COMBINED = TypeAdapter(_Combined)
_SYNC = TypeAdapter(_SyncFile)


@dataclass(frozen=True)
class Config:
    """What the files say, and the settings with what they add."""

    settings: Settings
    accounts: Accounts
    rules: tuple[Rule, ...]


def read(settings: Settings, mistakes: list[str]) -> Config:
    """Read the files that `settings` name, or that are found; every mistake in them is added to `mistakes`.

    `config.*` is looked for where no images file is named or found.
    """
    config_file = settings.config_file
    if config_file is None and settings.images_file is None and rules.find() is None:
        config_file = files.find(STEMS)
    sync_file = files.find((SYNC_STEM,))
    if sync_file is not None and sync_file != config_file:
        settings = _with_sync_file(sync_file, settings, mistakes)
    if config_file is None:
        return _apart(settings, mistakes)
    data = files.load(config_file, mistakes, shown=frozenset(_Combined.model_fields))
    if data is files.UNREADABLE:
        return Config(settings, Accounts({}), ())
    if isinstance(data, dict) and _is_hooks(data):
        return _apart(_with_sync(data, config_file, settings, mistakes), mistakes)
    return _combined(data, config_file, settings, mistakes)


def _is_hooks(data: dict[Any, Any]) -> bool:
    """Whether `data` is image-syncer's own file, for its hook: without images, and without accounts of registries."""
    auth = data.get("auth")
    accounts_in_it = isinstance(auth, dict) and any(isinstance(entry, dict) for entry in auth.values())
    return "images" not in data and not accounts_in_it and bool(data.keys() & HOOK_KEYS or data.keys() == {"sync"})


def _apart(settings: Settings, mistakes: list[str]) -> Config:
    """Accounts and images from a file each."""
    known = _accounts(settings, mistakes)
    return Config(settings, known, rules.read(settings.images_file or rules.find() or Path("images.json"), mistakes))


def _accounts(settings: Settings, mistakes: list[str]) -> Accounts:
    """The accounts from a file of their own."""
    path = settings.accounts_file or accounts.find()
    if path is None:
        logger.warning("no accounts file here: every registry is asked without a password")
        return Accounts({})
    return accounts.read(path, mistakes, process_environ())


def _combined(data: Any, path: Path, settings: Settings, mistakes: list[str]) -> Config:
    """Accounts and images from `data`, the content of `path`."""
    place = files.Place(path)
    keys = tuple(_Combined.model_fields)
    combined = files.check(_COMBINED, data, place, mistakes, keys, shown=frozenset({*keys, *_SYNC_VALUES}))
    if combined is None:
        return Config(settings, Accounts({}), ())
    given_twice = [("IMAGES_FILE", settings.images_file)]
    given_twice += [("ACCOUNTS_FILE", settings.accounts_file)] if combined.auth is not None else []
    mistakes.extend(
        f"{name}: {str(other)!r} is given beside {path}, which holds the same; give one or the other"
        for name, other in given_twice
        if other is not None
    )
    if combined.auth is None:
        known = _accounts(settings, mistakes)
    else:
        known = accounts.check(combined.auth, place["auth"], mistakes, process_environ())
    wanted = rules.check(combined.images, place["images"], mistakes)
    return Config(with_file(settings, combined.sync.values()), known, wanted)


def _with_sync_file(path: Path, settings: Settings, mistakes: list[str]) -> Settings:
    data = files.load(path, mistakes, shown=frozenset())
    return settings if data is files.UNREADABLE else _with_sync(data, path, settings, mistakes)


def _with_sync(data: Any, path: Path, settings: Settings, mistakes: list[str]) -> Settings:
    """`settings` with what the content `data` of image-syncer's own file adds."""
    found = files.check(_SYNC, data, files.Place(path), mistakes, ("sync",), shown=frozenset({"sync", *_SYNC_VALUES}))
    return with_file(settings, found.sync.values()) if found else settings
