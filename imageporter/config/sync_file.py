"""image-syncer's own file, `configs/sync.yaml`: its hook's port, account and rows, and a few values of the pass."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from imageporter.config import files
from imageporter.config.accounts_file import expand_variables
from imageporter.config.files import Location
from imageporter.config.settings import MAX_CONCURRENCY, MAX_RETRIES, Secret
from imageporter.model import reference
from imageporter.model.push_route import PushRoute
from imageporter.system.errors import Problems

STEM = "configs/sync"
SYNC_VALUES = ("routineNum", "retryCount", "interval")
# The keys that distinguish it from a file with accounts and images.
_KEYS = frozenset({"app", "registry"})
# image-syncer reads its keys in any case, and its own example has `Username`.
_NAMES = ("app", "port", "auth", "username", "password", "registry", "reg", "sourceName", "namespace", "destinationName")
_CASES = {name.lower(): name for name in (*_NAMES, "sync", *SYNC_VALUES)}
_DEEPEST = 4  # {registry: {reg: [{sourceName: ...}]}}
_MINUTES = 60
_HOURS = 24


def _parts(parse: Callable[[str], str]) -> Callable[[Any], tuple[str, ...]]:
    def validate(value: Any) -> tuple[str, ...]:
        if not isinstance(value, str):
            raise ValueError("must be a string; put commas between several")
        return tuple(parse(part.strip()) for part in value.split(","))

    return validate


def _port(value: Any) -> str:
    digits = str(value).strip().removeprefix(":")
    if not (re.fullmatch("[0-9]{1,5}", digits) and 0 < int(digits) < 1 << 16):
        raise ValueError("is not a port; write one like 8080")
    return f"0.0.0.0:{digits}"


Prefixes = Annotated[tuple[str, ...], BeforeValidator(_parts(reference.parse_prefix))]
Namespaces = Annotated[tuple[str, ...], BeforeValidator(_parts(reference.parse_path))]
_OPEN = ConfigDict(extra="ignore", strict=True, defer_build=True)


class Sync(BaseModel):
    """The values for passes and queue runs."""

    model_config = _OPEN

    routine_num: int | None = Field(None, alias="routineNum", ge=1, le=MAX_CONCURRENCY, description="as JOBS")
    retry_count: int | None = Field(None, alias="retryCount", ge=0, le=MAX_RETRIES, description="as RETRIES")
    interval: int | None = Field(None, ge=1, le=_HOURS * _MINUTES, description="minutes between two queue runs")

    def values(self) -> dict[str, Any]:
        """Return the settings that it gives, by field."""
        given = {"jobs": self.routine_num, "retries": self.retry_count, "hook_cron": _cron(self.interval)}
        return {name: value for name, value in given.items() if value is not None}


class _App(BaseModel):
    model_config = _OPEN

    port: Annotated[int | str, AfterValidator(_port)] | None = None


class _Auth(BaseModel):
    model_config = _OPEN

    username: str | None = None
    password: str | None = None


class _Row(BaseModel):
    model_config = _OPEN

    sources: Prefixes = Field(alias="sourceName")
    namespaces: Namespaces = Field(alias="namespace")
    destinations: Prefixes = Field(alias="destinationName")


class _Registry(BaseModel):
    model_config = _OPEN

    reg: list[_Row] = []


class _File(BaseModel):
    model_config = _OPEN

    app: _App = _App()
    auth: _Auth = _Auth()
    registry: _Registry = _Registry()
    sync: Sync = Sync()


_FILE = TypeAdapter(_File)


@dataclass(frozen=True)
class SyncFile:
    """Its content: `values` for settings that nothing else gives, and the `routes` of `registry.reg`."""

    values: Mapping[str, Any]
    routes: tuple[PushRoute, ...] = ()


def is_sync_file(data: dict[Any, Any]) -> bool:
    """Return whether `data` is the content of such a file: without images, and without accounts of registries."""
    data = {_known(key): value for key, value in data.items()}
    auth = data.get("auth")
    has_accounts = isinstance(auth, dict) and any(isinstance(entry, dict) for entry in auth.values())
    return "images" not in data and not has_accounts and bool(data.keys() & _KEYS or data.keys() == {"sync"})


def validate_sync_file(data: Any, location: Location, problems: Problems, environ: Mapping[str, str] | None) -> SyncFile:
    """Return the content of `data`, found at `location`. `$NAME` in the hook's account is taken from `environ`.

    If `environ` is None, the account is not read, because a pass needs none. Mistakes are added to `problems`. Unknown keys
    are ignored, and so never shown.
    """
    data = _in_known_case(data, location, problems)
    found = files.validate(_FILE, data, location, problems, ())
    if found is None:
        return SyncFile({})
    values = found.sync.values()
    if found.app.port is not None:
        values["hook_listen"] = found.app.port
    for name, written in (("username", found.auth.username), ("password", found.auth.password)):
        if not written or environ is None:
            continue
        try:
            secret = expand_variables(written, environ)
            if not secret.strip():
                raise ValueError("is empty; give it a value")  # noqa: TRY301
            values[f"hook_{name}"] = Secret(secret)
        except ValueError as error:
            problems.add(location["auth"][name], str(error))
    rows = location["registry"]["reg"]
    routes = (
        PushRoute(rows[index].inside, row.sources, row.namespaces, row.destinations)
        for index, row in enumerate(found.registry.reg)
    )
    return SyncFile(values, tuple(routes))


def _known(key: Any) -> Any:
    """Return the known key that differs from `key` in its capitals only, or `key` itself."""
    return _CASES.get(str(key).lower(), key)


def _in_known_case(data: Any, location: Location, problems: Problems, levels: int = _DEEPEST) -> Any:
    """Return `data` with its known keys in their known case. Two that become one are added to `problems`."""
    if isinstance(data, list) and levels:
        return [_in_known_case(value, location[index], problems, levels - 1) for index, value in enumerate(data)]
    if not isinstance(data, dict) or not levels:
        return data
    found: dict[Any, Any] = {}
    for key, value in data.items():
        name = _known(key)
        if name in found:
            problems.add(location[name], "stands twice, with other capitals; keep one")
        found[name] = _in_known_case(value, location[name], problems, levels - 1)
    return found


def _cron(minutes: int | None) -> str | None:
    """Return a schedule for every `minutes`, or for the next shorter interval that divides an hour or a day."""
    if minutes is None:
        return None
    if minutes < _MINUTES:
        return f"*/{_largest_divisor(_MINUTES, minutes)} * * * *"
    hours = _largest_divisor(_HOURS, minutes // _MINUTES)
    return "0 0 * * *" if hours == _HOURS else f"0 */{hours} * * *"


def _largest_divisor(whole: int, most: int) -> int:
    return max(part for part in range(1, most + 1) if whole % part == 0)
