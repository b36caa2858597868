"""Which files the settings mean, and what stands in them: two files, or one for both."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loguru import logger
from pydantic import BaseModel, ConfigDict, TypeAdapter

from imageporter.config.configuration import accounts_file
from imageporter.config.configuration import files
from imageporter.model import rule
from imageporter.config.configuration import sync_file
from imageporter.config.accounts_file import Accounts
from imageporter.hook.routes import Row
from imageporter.model.rule import Rule
from imageporter.config.settings import Settings, process_environ, with_file
from imageporter.config.sync_file import SYNC_VALUES, Sync, SyncFile

STEMS = ("config",)


class _Combined(BaseModel):
    """Accounts and images in one file, as image-syncer's `--config` takes them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    auth: Any = None
    images: Any
    sync: Sync = Sync()


class _Whole(_Combined):
    """The same with its parts, for the schema."""

    auth: dict[str, accounts.Entry] | list[accounts.Row] = {}
    images: dict[str, rules.Targets] | list[rules.Row]


SCHEMA: TypeAdapter[Any] = TypeAdapter(_Whole)
_COMBINED = TypeAdapter(_Combined)


@dataclass(frozen=True)
class Config:
    """What the files say, and the settings with what they add; `rows` are those of `registry.reg`."""

    settings: Settings
    accounts: Accounts = field(default_factory=lambda: Accounts({}))
    rules: tuple[Rule, ...] = ()
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Parts:
    """Which parts are wanted: what nobody needs is not read, and has no mistakes."""

    accounts: bool = True
    images: bool = True
    hooks_account: bool = False

    @property
    def environ(self) -> Mapping[str, str] | None:
        """Where the hook's account gets its variables from, if it is wanted."""
        return process_environ() if self.hooks_account else None


OF_THE_HOOK = Parts(accounts=False, hooks_account=True)


def read(settings: Settings, mistakes: list[str], parts: Parts = Parts()) -> Config:
    """Read the files that `settings` name, or that are found; every mistake in them is added to `mistakes`.

    `config.*` is looked for where no images file is named or found. Where `registry.reg` says where pushes go, an
    images file is not needed.
    """
    config_file = settings.config_file
    if config_file is None and settings.images_file is None and rules.find() is None:
        config_file = files.find(STEMS)
    found = SyncFile({})
    sync_path = files.find((sync_file.STEM,))
    if sync_path is not None and sync_path != config_file:
        data = files.load(sync_path, mistakes, shown=frozenset())
        if data is not files.UNREADABLE:
            found = sync_file.check(data, files.Place(sync_path), mistakes, parts.environ)
    if config_file is None:
        return _apart(settings, found, mistakes, parts)
    data = files.load(config_file, mistakes, shown=frozenset(_Combined.model_fields))
    if data is files.UNREADABLE:
        return Config(settings)
    if isinstance(data, dict) and sync_file.is_one(data):
        found = sync_file.check(data, files.Place(config_file), mistakes, parts.environ)
        return _apart(settings, found, mistakes, parts)
    combined = _combined(data, config_file, with_file(settings, found.values), mistakes, parts)
    return replace(combined, rows=found.rows)


def candidates(settings: Settings) -> Iterator[Path]:
    """The files that `read` may read for the images."""
    yield from (path for path in (settings.config_file, settings.images_file) if path is not None)
    yield from files.candidates((*STEMS, *rules.STEMS, sync_file.STEM))


def _apart(settings: Settings, found: SyncFile, mistakes: list[str], parts: Parts) -> Config:
    """Accounts and images from a file each."""
    known = _accounts(settings, mistakes) if parts.accounts else Accounts({})
    path = settings.images_file or rules.find() or (None if found.rows else Path("images.json"))
    wanted = rules.read(path, mistakes) if path and parts.images else ()
    return Config(with_file(settings, found.values), known, wanted, found.rows)


def _accounts(settings: Settings, mistakes: list[str]) -> Accounts:
    """The accounts from a file of their own."""
    path = settings.accounts_file or accounts.find()
    if path is None:
        # A run over the queue, which comes every few minutes and mostly finds nothing, need not say it each time.
        level = "DEBUG" if settings.queue else "WARNING"
        logger.log(level, "no accounts file here: every registry is asked without a password")
        return Accounts({})
    return accounts.read(path, mistakes, process_environ())


def _combined(data: Any, path: Path, settings: Settings, mistakes: list[str], parts: Parts) -> Config:
    """Accounts and images from `data`, the content of `path`."""
    place = files.Place(path)
    keys = tuple(_Combined.model_fields)
    combined = files.check(_COMBINED, data, place, mistakes, keys, shown=frozenset({*keys, *SYNC_VALUES}))
    if combined is None:
        return Config(settings)
    given_twice = [("IMAGES_FILE", settings.images_file)]
    given_twice += [("ACCOUNTS_FILE", settings.accounts_file)] if combined.auth is not None else []
    mistakes.extend(
        f"{name}: {str(other)!r} is given beside {path}, which holds the same; give one or the other"
        for name, other in given_twice
        if other is not None
    )
    known = Accounts({})
    if parts.accounts and combined.auth is None:
        known = _accounts(settings, mistakes)
    elif parts.accounts:
        known = accounts.check(combined.auth, place["auth"], mistakes, process_environ())
    wanted = rules.check(combined.images, place["images"], mistakes) if parts.images else ()
    return Config(with_file(settings, combined.sync.values()), known, wanted)
