"""Reading JSON and YAML files, with errors that name the file and the line or the location in it.

No error shows a value, because an accounts file holds passwords.
"""

import json
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from imageporter.system.errors import Problems

if TYPE_CHECKING:
    from ruamel.yaml.error import MarkedYAMLError

T = TypeVar("T")
UNREADABLE = object()
PYDANTICS_OWN = re.compile(r"<\w+>|\[key\]")
SUFFIXES = ("json", "yaml", "yml")

_WANTED = {
    "bool_type": "a boolean",
    "int_type": "a number",
    "string_type": "a string",
    "list_type": "a list",
    "model_type": "an object",
    "dict_type": "an object",
}


class UnreadableError(Exception):
    """A file that cannot be used: `text` says what was found at `location`, and how to fix it."""

    def __init__(self, location: object, text: str) -> None:
        self.location = location
        self.text = text
        super().__init__(f"{location}: {text}")


class _ObjectWithDuplicates(dict[str, Any]):
    """A JSON object that remembers its duplicate keys."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.duplicates = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else _ObjectWithDuplicates(pairs)


_TYPES = {
    dict: "an object",
    _ObjectWithDuplicates: "an object",
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


def find_file(stems: Sequence[str]) -> Path | None:
    """Return the first candidate that exists in the working directory, or None."""
    return next((path for path in candidates(stems) if path.exists() or path.is_symlink()), None)


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


def load_file(path: Path, problems: Problems, shown: frozenset[str] | None = None) -> Any:
    """Return the content of `path`. If it cannot be used, add problems and return UNREADABLE.

    If `shown` is given, only keys in it are shown in problems.
    """
    try:
        data = read(path, shown)
    except UnreadableError as error:
        problems.add(error.location, error.text)
        return UNREADABLE
    if path.suffix == ".json" and (duplicates := list(_duplicate_keys(data))):
        for keys in duplicates:
            problems.add(_locate(Location(path), keys, shown), "is a duplicate key; keep one")
        return UNREADABLE
    return data


def validate(
    shape: TypeAdapter[T],
    data: Any,
    at: Location,
    problems: Problems,
    keys: Sequence[str],
    shown: frozenset[str] | None = None,
) -> T | None:
    """Return `data`, found at the location `at`, in `shape`. If it does not fit, add problems and return None.

    `keys` are the keys that an entry may have. If `shown` is given, only keys in it are shown in problems: another key
    may be a password (`password:secret` is a key, because YAML wants a space after the colon).
    """
    try:
        return shape.validate_python(data)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            problems.add(_locate(at, details["loc"], shown), _problem(details, keys, secret=shown is not None))
    return None


def read(path: Path, shown: frozenset[str] | None = None) -> Any:
    """Return the content of a `.json`, `.yaml` or `.yml` file as plain Python data. Raises UnreadableError.

    If `shown` is given, only keys in it are shown in an error.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise UnreadableError(path, f"not found{where}; create it or correct the path") from None
    except IsADirectoryError:
        raise UnreadableError(
            path,
            "is a directory, not a file; `docker run -v` makes one where the file is missing on the host: "
            "remove the directory there and put the file in its place",
        ) from None
    except UnicodeDecodeError as error:
        raise UnreadableError(path, f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise UnreadableError(
            path, f"cannot be read: {error.strerror}; user {os.getuid()}, who runs this, must be allowed to"
        ) from None
    if not text.strip():
        raise UnreadableError(path, "is empty; an empty list is written []")
    if path.suffix not in {f".{suffix}" for suffix in SUFFIXES}:
        raise UnreadableError(path, "is neither .json nor .yaml nor .yml; rename it")
    return _json(path, text) if path.suffix == ".json" else _yaml(path, text, shown)


def _step(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key}" if key.isidentifier() else f'["{key}"]'


def _locate(at: Location, keys: Sequence[str | int], shown: frozenset[str] | None) -> Location:
    """Return the location of `keys` below `at`, without keys that may not be shown and without pydantic's own (`<many>`)."""
    for key in keys:
        if (shown is None or key in shown) and not PYDANTICS_OWN.fullmatch(str(key)):
            at = at[key]
    return at


def _problem(details: ErrorDetails, keys: Sequence[str], *, secret: bool) -> str:
    kind = details["type"]
    if kind == "missing":
        return "is missing; add it"
    if kind == "extra_forbidden":
        what = "holds a key that is not known" if secret else "is not a known key"
        return f"{what}; the keys are {', '.join(keys[:-1])} and {keys[-1]}"
    if kind in _WANTED:
        return _wrong_type(_WANTED[kind], details["input"])
    if kind == "too_short":
        return "is empty; add at least one"
    if kind == "target_type":
        return f"{details['msg']}, found {_type_name(details['input'])}"
    return str(details["ctx"]["error"]) if kind == "value_error" else details["msg"]


def _wrong_type(wanted: str, found: object) -> str:
    """Return what is wrong if `found` is not `wanted` (`a string`): its type, never its value."""
    kind = _type_name(found)
    advice = "; put it in quotes" if wanted == "a string" and kind in {"a number", "a boolean"} else ""
    return f"must be {wanted}, found {kind}{advice}"


def _type_name(value: object) -> str:
    return _TYPES.get(type(value), "something else")


def _duplicate_keys(data: object, *keys: str | int) -> Iterator[tuple[str | int, ...]]:
    """Yield the paths of all duplicate keys in JSON objects."""
    if isinstance(data, _ObjectWithDuplicates):
        yield from ((*keys, key) for key in data.duplicates)
    if isinstance(data, dict):
        children: Iterable[tuple[str | int, object]] = data.items()
    else:
        children = enumerate(data) if isinstance(data, list) else ()
    for key, child in children:
        yield from _duplicate_keys(child, *keys, key)


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        where = f"{path}: line {error.lineno}, column {error.colno}"
        raise UnreadableError(where, _json_problem(text, error)) from None
    except (RecursionError, ValueError):
        raise UnreadableError(path, "is nested too deeply or holds a number too long to read") from None


def _json_problem(text: str, error: json.JSONDecodeError) -> str:
    """Return what is wrong and how to fix it, for the usual slips. It never quotes a letter or digit of the text."""
    found, before = text[error.pos : error.pos + 1], text[: error.pos].rstrip()[-1:]
    problem = (error.msg[0].lower() + error.msg[1:]).removesuffix(" at")
    if unicodedata.east_asian_width(found or " ") in {"F", "W"} and not found.isalnum():
        return f"found the full-width {found!r}; write it half-width"
    if found in tuple("\u201c\u201d\u2018\u2019"):
        return 'found a curly quote; write "'
    if text[error.pos :].startswith(("//", "/*", "#")):
        return "found a comment, which JSON does not have; remove it, or write YAML into a .yaml file"
    if before == "," and found in {"]", "}"}:
        return f"found a comma before {found!r}; remove it"
    if error.pos == 0 and found == "-":
        return "found YAML; give the file a name in .yaml"
    return f"{problem}; correct the JSON there"


def _yaml(path: Path, text: str, shown: frozenset[str] | None) -> Any:
    from ruamel.yaml import YAML  # noqa: PLC0415 (only YAML files pay for it)
    from ruamel.yaml.constructor import DuplicateKeyError  # noqa: PLC0415
    from ruamel.yaml.error import MarkedYAMLError  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote the text
            return YAML(typ="safe", pure=True).load(text)
    except DuplicateKeyError as error:
        # ruamel's own words quote both values.
        key = re.search(r'duplicate key "(.*?)" with value', error.problem or "", re.DOTALL)
        what = f"duplicate key {key[1]}" if key and (shown is None or key[1] in shown) else "duplicate key"
        raise UnreadableError(path, f"{_line(error)}{what}; keep one") from None
    except MarkedYAMLError as error:
        # What ruamel quotes may be a piece of a password (`password: *secret` is an alias to YAML): signs only.
        problem = error.problem or "cannot be read"
        if error.problem_mark and "\t" in problem:
            raise UnreadableError(path, f"{_line(error)}found a tab; indent with spaces") from None
        if set("'\"") & set(re.sub(r"'(\W|<[a-z ]+>)'", "", problem)):
            problem = re.split("['\"]", problem)[0] + "..."
        raise UnreadableError(path, f"{_line(error)}{problem}; correct the YAML there") from None
    except Exception:  # ruamel lets out KeyError, RecursionError and others, with pieces of the text
        raise UnreadableError(path, "is not YAML that can be read; check it with a YAML linter") from None


def _line(error: "MarkedYAMLError") -> str:
    mark = error.problem_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
