"""image-syncer's own file, `configs/sync.yaml`: its hook's port, account and rows, and a few values of the pass."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, TypeAdapter

from imageporter.config.configuration import files
from imageporter.model import reference
from imageporter.config.accounts_file import expanded
from imageporter.hook.routes import Row
from imageporter.config.settings import MOST_AT_ONCE, MOST_RETRIES

STEM = "configs/sync"
# What tells it from a file with accounts and images.
_KEYS = frozenset({"app", "registry"})
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
_OPEN = ConfigDict(extra="ignore", strict=True)


class Sync(BaseModel):
    """What the pass and the queue take from it."""

    model_config = _OPEN

    routine_num: int | None = Field(None, alias="routineNum", ge=1, le=MOST_AT_ONCE)
    retry_count: int | None = Field(None, alias="retryCount", ge=0, le=MOST_RETRIES)
    interval: int | None = Field(None, ge=1, le=_HOURS * _MINUTES, description="minutes between two runs over the queue")

    def values(self) -> dict[str, Any]:
        """The settings that it gives."""
        given = {"jobs": self.routine_num, "retries": self.retry_count, "hook_cron": _cron(self.interval)}
        return {name: value for name, value in given.items() if value is not None}


class _App(BaseModel):
    model_config = _OPEN

    port: Annotated[int | str, AfterValidator(_port)] | None = None


class _Auth(BaseModel):
    model_config = _OPEN

    username: str | None = None
    password: str | None = None


class _Reg(BaseModel):
    model_config = _OPEN

    sources: Prefixes = Field(alias="sourceName")
    namespaces: Namespaces = Field(alias="namespace")
    destinations: Prefixes = Field(alias="destinationName")


class _Registry(BaseModel):
    model_config = _OPEN

    reg: list[_Reg] = []


class _File(BaseModel):
    model_config = _OPEN

    app: _App = _App()
    auth: _Auth = _Auth()
    registry: _Registry = _Registry()
    sync: Sync = Sync()


_FILE = TypeAdapter(_File)
SYNC_VALUES = ("routineNum", "retryCount", "interval")


@dataclass(frozen=True)
class SyncFile:
    """What stands in it: settings, for those that nothing else gives, and the rows of `registry.reg`."""

    values: Mapping[str, Any]
    rows: tuple[Row, ...] = ()


def is_one(data: dict[Any, Any]) -> bool:
    """Whether `data` is such a file: without images, and without accounts of registries."""
    auth = data.get("auth")
    accounts_in_it = isinstance(auth, dict) and any(isinstance(entry, dict) for entry in auth.values())
    return "images" not in data and not accounts_in_it and bool(data.keys() & _KEYS or data.keys() == {"sync"})


def check(data: Any, place: files.Place, mistakes: list[str], environ: Mapping[str, str] | None) -> SyncFile:
    """What stands in `data`, which is at `place`; `$NAME` in the hook's account comes from `environ`.

    Where `environ` is None, the account is left alone: a pass needs none.

    What is wrong is added to `mistakes`; no key is shown that is not known, for those are not even looked at.
    """
    found = files.check(_FILE, data, place, mistakes, ())
    if found is None:
        return SyncFile({})
    values = found.sync.values()
    if found.app.port is not None:
        values["hook_listen"] = found.app.port
    for name, written in (("username", found.auth.username), ("password", found.auth.password)):
        if not written or environ is None:
            continue
        try:
            secret = expanded(written, environ)
            if not secret.strip():
                raise ValueError("is empty; give it a value")  # noqa: TRY301
            values[f"hook_{name}"] = SecretStr(secret)
        except ValueError as error:
            mistakes.append(f"{place['auth'][name]}: {error}")
    rows = (
        Row(place["registry"]["reg"][index].inside, one.sources, one.namespaces, one.destinations)
        for index, one in enumerate(found.registry.reg)
    )
    return SyncFile(values, tuple(rows))


def _cron(minutes: int | None) -> str | None:
    """Every so many minutes, or the next shorter time that cron can say: what divides an hour, or a day."""
    if minutes is None:
        return None
    if minutes < _MINUTES:
        return f"*/{_divisor(_MINUTES, minutes)} * * * *"
    hours = _divisor(_HOURS, minutes // _MINUTES)
    return "0 0 * * *" if hours == _HOURS else f"0 */{hours} * * *"


def _divisor(whole: int, most: int) -> int:
    return max(part for part in range(1, most + 1) if whole % part == 0)
