"""Which files the settings name or the working directory holds, and their content: two files, or one for both."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loguru import logger
from pydantic import BaseModel, ConfigDict, TypeAdapter

from imageporter.config import accounts_file, files, images_file, sync_file
from imageporter.config.files import Location
from imageporter.config.settings import Settings, misspelt_variables, process_environ, with_file_values
from imageporter.config.sync_file import SYNC_VALUES, Sync, SyncFile
from imageporter.model.account import Accounts
from imageporter.model.push_route import PushRoute
from imageporter.model.rule import Rule
from imageporter.system.errors import Problems

STEMS = ("config",)


class CombinedFile(BaseModel):
    """Accounts and images in one file, as image-syncer's `--config` takes them."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    auth: Any = None
    images: Any
    defaults: Any = None
    sync: Sync = Sync()


_COMBINED = TypeAdapter(CombinedFile)


@dataclass(frozen=True)
class Configuration:
    """The content of the files, and the settings completed by them. `routes` are the rows of `registry.reg`."""

    settings: Settings
    accounts: Accounts = field(default_factory=lambda: Accounts({}))
    rules: tuple[Rule, ...] = ()
    routes: tuple[PushRoute, ...] = ()


@dataclass(frozen=True)
class Parts:
    """Which parts are needed. The others are not read, so mistakes in them do not matter."""

    accounts: bool = True
    images: bool = True
    hook_account: bool = False

    @property
    def environ(self) -> Mapping[str, str] | None:
        """Where the hook's account takes its variables from, if it is needed."""
        return process_environ() if self.hook_account else None


FOR_HOOK = Parts(accounts=False, hook_account=True)


def load_configuration(settings: Settings, problems: Problems, parts: Parts = Parts()) -> Configuration:
    """Read the files that `settings` name, or that the working directory holds. Mistakes are added to `problems`.

    `config.*` is searched if no images file is named or found. No images file is needed if `registry.reg` says where pushes
    go.
    """
    if settings.image_arguments:
        return _load_arguments(settings, problems)
    config_file = settings.config_file
    others = files.find_file(STEMS)
    if config_file is None and settings.images_file is None:
        images = images_file.find_images_file()
        config_file = others if images is None else None
        if images and others and parts.images and not (settings.queue_only or settings.scheduled):
            logger.warning("{} is ignored, because there is {}", others, images)
    found = SyncFile({})
    sync_path = files.find_file((sync_file.STEM,))
    if sync_path is not None and sync_path != config_file:
        data = files.load_file(sync_path, problems, shown=frozenset())
        if data is not files.UNREADABLE:
            found = sync_file.validate_sync_file(data, Location(sync_path), problems, parts.environ)
    if config_file is None:
        return _load_two_files(settings, found, problems, parts)
    data = files.load_file(config_file, problems, shown=frozenset(CombinedFile.model_fields))
    if data is files.UNREADABLE:
        return Configuration(settings)
    if isinstance(data, dict) and sync_file.is_sync_file(data):
        found = sync_file.validate_sync_file(data, Location(config_file), problems, parts.environ)
        return _load_two_files(settings, found, problems, parts)
    combined = _validate_combined(data, config_file, with_file_values(settings, found.values), problems, parts)
    return replace(combined, routes=found.routes)


def warn_of_misspelt_variables(settings: Settings) -> None:
    """Log the environment's variables that look like one of the contract. The schedule does so once, at its start."""
    if not (settings.queue_only or settings.scheduled):
        for name, similar in misspelt_variables().items():
            logger.warning("{} is not a variable of ImagePorter and is ignored; did you mean {}?", name, similar)


def watched_files(settings: Settings) -> Iterator[Path]:
    """Yield the files that `load_configuration` may read for the images and the routes."""
    yield from (path for path in (settings.config_file, settings.images_file) if path is not None)
    yield from files.candidates((*STEMS, *images_file.STEMS, sync_file.STEM))


def _load_two_files(settings: Settings, found: SyncFile, problems: Problems, parts: Parts) -> Configuration:
    """Read accounts and images from a file each."""
    accounts = _load_accounts(settings, problems) if parts.accounts else Accounts({})
    path = settings.images_file or images_file.find_images_file() or (None if found.routes else Path("images.json"))
    rules = images_file.load_images(path, problems) if path and parts.images else ()
    if path and parts == Parts() and not rules and not problems and not found.routes:
        logger.warning("{} has no images", path)
    return Configuration(with_file_values(settings, found.values), accounts, rules, found.routes)


def _load_arguments(settings: Settings, problems: Problems) -> Configuration:
    """Return the images of the command line, with the accounts and settings of the files, but none of their images."""
    given = settings.image_arguments
    rows = [{"source": source, "target": target} for source, target in zip(given[::2], given[1::2], strict=True)]
    rules = images_file.validate_images(rows, Location(Path("command line")), problems)
    others = load_configuration(replace(settings, image_arguments=(), images_file=None), problems, Parts(images=False))
    return replace(others, rules=rules, settings=replace(others.settings, image_arguments=given))


def _load_accounts(settings: Settings, problems: Problems) -> Accounts:
    path = settings.accounts_file or accounts_file.find_accounts_file()
    # Once is enough: the schedule has said so at its start. --explain prints for other programs, too.
    is_first = not (settings.queue_only or settings.scheduled or settings.explain is not None)
    if path is None:
        logger.log("INFO" if is_first else "DEBUG", "no accounts file found: all registries are accessed anonymously")
        return Accounts({})
    if accounts_file.is_empty_directory(path):
        message = (
            "{}: is an empty directory, so all registries are accessed anonymously; docker makes one where a mounted file is "
            "missing on the host: remove the directory there and put the file in its place, or leave out the mount"
        )
        logger.log("WARNING" if is_first else "DEBUG", message, path)
        return Accounts({})
    return accounts_file.load_accounts(path, problems, process_environ())


def _validate_combined(data: Any, path: Path, settings: Settings, problems: Problems, parts: Parts) -> Configuration:
    """Return the accounts and images in `data`, the content of `path`."""
    location = Location(path)
    keys = tuple(CombinedFile.model_fields)
    combined = files.validate(_COMBINED, data, location, problems, keys, shown=frozenset({*keys, *SYNC_VALUES}))
    if combined is None:
        return Configuration(settings)
    others = [("IMAGES_FILE", settings.images_file)]
    others += [("ACCOUNTS_FILE", settings.accounts_file)] if combined.auth is not None else []
    for name, other in others:
        if other is not None:
            problems.add(name, f"{str(other)!r} is given beside {path}, which holds the same; give one or the other")
    accounts = Accounts({})
    if parts.accounts and combined.auth is None:
        accounts = _load_accounts(settings, problems)
    elif parts.accounts:
        accounts = accounts_file.validate_accounts(combined.auth, location["auth"], problems, process_environ())
    rules: tuple[Rule, ...] = ()
    if parts.images:
        defaults = images_file.validate_defaults(
            {} if combined.defaults is None else combined.defaults, location["defaults"], problems
        )
        rules = images_file.validate_images(combined.images, location["images"], problems, defaults)
    return Configuration(with_file_values(settings, combined.sync.values()), accounts, rules)
