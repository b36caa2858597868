"""Finding and validating the files, with errors that name the file and the location in it.

No error shows a value, because an accounts file holds passwords.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from imageporter.config.file_formats import SUFFIXES, ObjectWithDuplicates, UnreadableError, duplicate_keys, read
from imageporter.model import reference
from imageporter.system.errors import Problems

T = TypeVar("T")
UNREADABLE = object()
PYDANTICS_OWN = re.compile(r"<\w+>|\[key\]")

_WANTED = {
    "bool_type": "a boolean",
    "int_type": "a number",
    "string_type": "a string",
    "list_type": "a list",
    "model_type": "an object",
    "dict_type": "an object",
}
_TYPE_ADVICE = {
    ("a string", "a number"): "; put it in quotes",
    ("a string", "a boolean"): "; put it in quotes",
    ("a boolean", "a string"): "; write true or false",
    ("a number", "a string"): "; write it without quotes",
}
_FIXED = {"missing": "is missing; add it", "too_short": "is empty; add at least one"}
_LIMITS = {"greater_than_equal": "at least", "less_than_equal": "at most", "literal_error": "one of"}
_CONTEXTS = {"greater_than_equal": "ge", "less_than_equal": "le", "literal_error": "expected"}  # pydantic's names


_TYPES = {
    dict: "an object",
    ObjectWithDuplicates: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    type(None): "nothing",
}


def candidates(stems: Sequence[str]) -> Iterator[Path]:
    """Yield `stem.json`, `stem.yaml` and `stem.yml` for each stem."""
    return (Path(f"{stem}.{suffix}") for stem in stems for suffix in SUFFIXES)


def existing_files(stems: Sequence[str]) -> Iterator[Path]:
    """Yield the candidates that exist in the working directory."""
    return (path for path in candidates(stems) if path.exists() or path.is_symlink())


def find_file(stems: Sequence[str]) -> Path | None:
    """Return the first candidate that exists in the working directory, or None."""
    return next(existing_files(stems), None)


@dataclass(frozen=True, slots=True)
class Location:
    """A location in a file. Its `str` opens an error message: `images.json: [3].target`."""

    path: Path
    keys: tuple[str | int, ...] = ()

    def __getitem__(self, key: str | int) -> "Location":
        return Location(self.path, (*self.keys, key))

    def __str__(self) -> str:
        return f"{self.path}: {self.inside}" if self.keys else str(self.path)

    @property
    def inside(self) -> str:
        """The location without its file: `[3].target`, `["quay.io/coreos"].password`."""
        return "".join(_step(key) for key in self.keys).removeprefix(".")


def add_missing_brackets(data: Mapping[str, object], keys: Iterable[str], location: Location, problems: Problems) -> bool:
    """Return whether `data`, a map, is really one entry of a list, because it has some of the `keys` of an entry.

    If so, a problem is added.
    """
    found = [f'"{key}"' for key in keys if key in data]
    if found:
        names = f"{', '.join(found[:-1])} and {found[-1]}" if len(found) > 1 else found[0]
        what = f"{names} {'are keys' if len(found) > 1 else 'is a key'}"
        missing = "the brackets of the list are missing; write [ before it and ] after it"
        if location.path.suffix != ".json":
            missing = 'the list is missing; write "- " before its first key'
        problems.add(location, f"{what} of an entry, but {missing}")
    return bool(found)


def load_file(path: Path, problems: Problems, shown: frozenset[str] | None = None) -> Any:
    """Return the content of `path`. If it cannot be used, add problems and return UNREADABLE.

    If `shown` is given, only keys in it are shown in problems.
    """
    try:
        data = read(path, shown)
        duplicates = list(duplicate_keys(data)) if path.suffix == ".json" else []
    except UnreadableError as error:
        problems.add(error.location, error.text)
        return UNREADABLE
    except RecursionError:  # since Python 3.12, json reads deeper than a function can follow
        problems.add(path, "is nested too deeply")
        return UNREADABLE
    for keys in duplicates:
        problems.add(_locate(Location(path), keys, shown), "is a duplicate key; keep one")
    return UNREADABLE if duplicates else data


def validate(  # noqa: PLR0913 (two of them by name)
    shape: TypeAdapter[T],
    data: Any,
    at: Location,
    problems: Problems,
    keys: Sequence[str],
    shown: frozenset[str] | None = None,
    *,
    nested: Mapping[str, Sequence[str]] = {},
) -> T | None:
    """Return `data`, found at the location `at`, in `shape`. If it does not fit, add problems and return None.

    `keys` are the keys that an entry may have, and `nested` those of the objects below a key of it. If `shown` is
    given, only keys in it are shown in problems: another key may be a password (`password:secret` is a key, because
    YAML wants a space after the colon).
    """
    try:
        return shape.validate_python(data)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            text = _problem(details, keys, nested, secret=shown is not None)
            problems.add(_locate(at, details["loc"], shown), text)
    return None


def _step(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if key.isidentifier() else f'["{reference.shown(key)}"]'


def _locate(at: Location, keys: Sequence[str | int], shown: frozenset[str] | None) -> Location:
    """Return the location of `keys` below `at`, without keys that may not be shown and without pydantic's own (`<many>`)."""
    for key in keys:
        if (shown is None or key in shown) and not PYDANTICS_OWN.fullmatch(str(key)):
            at = at[key]
    return at


def _problem(details: ErrorDetails, keys: Sequence[str], nested: Mapping[str, Sequence[str]], *, secret: bool) -> str:
    kind = details["type"]
    parent, key = (["", "", *map(str, details["loc"])])[-2:]
    if kind == "extra_forbidden":
        if owner := next((name for name, inner in nested.items() if key in inner and name != parent and not secret), None):
            return f"is a key of `{owner}`; move it there"
        what = "holds a key that is not known" if secret else "is not a known key"
        return f"{what}; the {_quantity(nested.get(parent, keys))}"
    if kind in _WANTED:
        wanted = f"; its {_quantity(nested[key])}" if key in nested else ""
        return _wrong_type(_WANTED[kind], details["input"]) + wanted
    if kind in _LIMITS:
        return f"must be {_LIMITS[kind]} {details['ctx'][_CONTEXTS[kind]]}"
    if kind == "target_type":
        return f"{details['msg']}, found {_type_name(details['input'])}"
    return str(details["ctx"]["error"]) if kind == "value_error" else _FIXED.get(kind, details["msg"])


def _quantity(keys: Sequence[str]) -> str:
    return f"keys are {', '.join(keys[:-1])} and {keys[-1]}" if len(keys) > 1 else f"only key is {keys[0]}"


def _wrong_type(wanted: str, found: object) -> str:
    """Return what is wrong if `found` is not `wanted` (`a string`): its type, never its value."""
    kind = _type_name(found)
    return f"must be {wanted}, found {kind}{_TYPE_ADVICE.get((wanted, kind), '')}"


def _type_name(value: object) -> str:
    return _TYPES.get(type(value), "something else")
