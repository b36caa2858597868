"""JSON and YAML text, read as plain data, with errors that say what is wrong and how to fix it.

No error shows a value, because an accounts file holds passwords.
"""

import json
import os
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imageporter.model import reference
from imageporter.system.regular_files import TooLargeError, read_regular_file

if TYPE_CHECKING:
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.nodes import Node

SUFFIXES = ("json", "yaml", "yml")
LARGEST = 32 << 20  # bytes: 100,000 rules need 10 MB
MOST_NODES = 1_000_000  # of a YAML file, with every alias expanded; more only if they are really written
ENDLESS = 1 << 62
_TAG = "tag:yaml.org,2002:"
_PLAIN_KINDS = frozenset({"null", "bool", "str", "seq", "map", "merge"})
_PLAIN_INTEGER = re.compile("0|-?[1-9][0-9]{0,17}")
# What ruamel says of a text that begins with, or has, one of YAML's own signs: `*-rc*`, `>=7`, `{name}`, `a: b`.
_WANTS_QUOTES = re.compile(r"undefined alias|cannot start any token|got '[{\[]'|indentation indicators|mapping values")


class UnreadableError(Exception):
    """A file that cannot be used: `text` says what was found at `location`, and how to fix it."""

    def __init__(self, location: object, text: str) -> None:
        self.location = location
        self.text = text
        super().__init__(f"{location}: {text}")


class ObjectWithDuplicates(dict[str, Any]):
    """A JSON object that remembers its duplicate keys."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.duplicates = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else ObjectWithDuplicates(pairs)


def read(path: Path, shown: frozenset[str] | None = None) -> Any:
    """Return the content of a `.json`, `.yaml` or `.yml` file as plain Python data. Raises UnreadableError.

    If `shown` is given, only keys in it are shown in an error.
    """
    text = read_text(path)
    if path.suffix not in {f".{suffix}" for suffix in SUFFIXES}:
        raise UnreadableError(path, "is neither .json nor .yaml nor .yml; rename it")
    return _json(path, text) if path.suffix == ".json" else _yaml(path, text, shown)


def read_text(path: Path) -> str:
    """Return the text of the file `path`. Raises UnreadableError."""
    try:
        text = read_regular_file(path, LARGEST).decode("utf-8-sig")
    except FileNotFoundError:
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise UnreadableError(path, f"not found{where}; create it or correct the path") from None
    except IsADirectoryError:
        raise UnreadableError(
            path,
            "is a directory, not a file; `docker run -v` makes one where the file is missing on the host: "
            "remove the directory there and put the file in its place",
        ) from None
    except TooLargeError:
        raise UnreadableError(path, f"is larger than {LARGEST >> 20} MiB; split it") from None
    except UnicodeDecodeError as error:
        raise UnreadableError(path, f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except PermissionError as error:
        raise UnreadableError(
            path, f"cannot be read: {error.strerror}; user {os.getuid()}, who runs this, must be allowed to"
        ) from None
    except OSError as error:
        raise UnreadableError(path, f"cannot be read: {error.strerror}; name a regular file") from None
    if not text.strip():
        raise UnreadableError(path, "is empty; an empty list is written []")
    return text


def parse_foreign_yaml(path: Path, text: str) -> Any:
    """Return the one YAML document in `text`, from another program's file `path`. Raises UnreadableError.

    It is read as Go programs read it into strings: of duplicate keys the last wins, `1.10` stays `1.10`, and unknown
    tags (`!reset`) are ignored.
    """
    return _yaml(path, text, None, is_foreign=True)


def duplicate_keys(data: object, *keys: str | int) -> Iterator[tuple[str | int, ...]]:
    """Yield the paths of all duplicate keys in JSON objects."""
    if isinstance(data, ObjectWithDuplicates):
        yield from ((*keys, key) for key in data.duplicates)
    if isinstance(data, dict):
        children: Iterable[tuple[str | int, object]] = data.items()
    else:
        children = enumerate(data) if isinstance(data, list) else ()
    for key, child in children:
        yield from duplicate_keys(child, *keys, key)


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        error = _at_comma(text, error)
        where = f"{path}: line {error.lineno}, column {error.colno}"
        raise UnreadableError(where, _json_problem(text, error)) from None
    except (RecursionError, ValueError):
        raise UnreadableError(path, "is nested too deeply or holds a number too long to read") from None


def _at_comma(text: str, error: json.JSONDecodeError) -> json.JSONDecodeError:
    """Return `error` at the comma before a closing bracket, if that is the mistake.

    Python 3.13 reports the comma, and older versions what follows it.
    """
    comma = len(text[: error.pos].rstrip()) - 1 if text[error.pos : error.pos + 1] in {"]", "}"} else error.pos
    is_comma = text[comma : comma + 1] == "," and text[comma + 1 :].lstrip()[:1] in {"]", "}"}
    return json.JSONDecodeError(error.msg, text, comma) if is_comma else error


def _json_problem(text: str, error: json.JSONDecodeError) -> str:
    """Return what is wrong and how to fix it, for the usual slips. It never quotes a letter or digit of the text."""
    found, after = text[error.pos : error.pos + 1], text[error.pos + 1 :].lstrip()[:1]
    problem = (error.msg[0].lower() + error.msg[1:]).removesuffix(" at")
    if unicodedata.east_asian_width(found or " ") in {"F", "W"} and not found.isalnum():
        return f"found the full-width {found!r}; write it half-width"
    if found in tuple("\u201c\u201d\u2018\u2019"):
        return 'found a curly quote; write "'
    if text[error.pos :].startswith(("//", "/*", "#")):
        return "found a comment, which JSON does not have; remove it, or write YAML into a .yaml file"
    if found == "," and after in {"]", "}"}:
        return f"found a comma before {after!r}; remove it"
    if error.pos == 0 and found == "-":
        return "found YAML; give the file a name in .yaml"
    return f"{problem}; correct the JSON there"


def _yaml(path: Path, text: str, shown: frozenset[str] | None, *, is_foreign: bool = False) -> Any:
    from ruamel.yaml import YAML  # noqa: PLC0415 (only YAML files pay for it)
    from ruamel.yaml.constructor import DuplicateKeyError  # noqa: PLC0415
    from ruamel.yaml.error import MarkedYAMLError  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they quote the text
            yaml = YAML(typ="safe", pure=True)
            node = yaml.compose(text)
            nodes: dict[int, int] = {}
            too_large = node is not None and _expanded_size(node, nodes) > max(MOST_NODES, 10 * len(nodes))
            if is_foreign and node is not None and not too_large:
                _simplify(node)
            data = None if node is None or too_large else yaml.constructor.construct_document(node)
    except DuplicateKeyError as error:
        # ruamel's own words quote both values.
        key = re.search(r'duplicate key "(.*?)" with value', error.problem or "", re.DOTALL)
        what = f"duplicate key {reference.shown(key[1])}" if key and (shown is None or key[1] in shown) else "duplicate key"
        raise UnreadableError(path, f"{_line(error)}{what}; keep one") from None
    except MarkedYAMLError as error:
        # What ruamel quotes may be a piece of a password (`password: *secret` is an alias to YAML): signs only.
        problem = error.problem or "cannot be read"
        if error.problem_mark and "\t" in problem:
            raise UnreadableError(path, f"{_line(error)}found a tab; indent with spaces") from None
        if set("'\"") & set(re.sub(r"'(\W|<[a-z ]+>)'", "", problem)):
            problem = re.split("['\"]", problem)[0] + "..."
        advice = ", or put the text in quotes" if _WANTS_QUOTES.search(problem) else ""
        raise UnreadableError(path, f"{_line(error)}{problem}; correct the YAML there{advice}") from None
    except Exception:  # ruamel lets out KeyError, RecursionError and others, with pieces of the text
        raise UnreadableError(path, "is not YAML that can be read; check it with a YAML linter") from None
    if too_large:
        raise UnreadableError(path, "has too many aliases in aliases; write the values out")
    return data


def _expanded_size(node: "Node", known: dict[int, int]) -> int:
    """Return how many nodes `node` is, with every alias expanded: an alias in an alias in an alias may stand for billions."""
    if id(node) not in known:
        known[id(node)] = ENDLESS  # it contains itself
        children = node.value if isinstance(node.value, list) else []
        parts = (part for child in children for part in (child if isinstance(child, tuple) else (child,)))
        known[id(node)] = min(1 + sum(_expanded_size(part, known) for part in parts), ENDLESS)
    return known[id(node)]


def _simplify(node: "Node") -> None:
    """Leave nothing in `node` that the constructor refuses or changes; see `parse_foreign_yaml`."""
    from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode  # noqa: PLC0415

    defaults = {ScalarNode: "str", SequenceNode: "seq", MappingNode: "map"}
    stack, seen = [node], set()
    while stack:
        one = stack.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        kind = str(one.tag).removeprefix(_TAG)
        if kind not in _PLAIN_KINDS and not (kind == "int" and _PLAIN_INTEGER.fullmatch(one.value)):
            one.tag = _TAG + defaults[type(one)]
        if isinstance(one, MappingNode):
            # A key that is no scalar is no duplicate of another.
            last = {(key.tag, key.value if isinstance(key, ScalarNode) else id(key)): (key, value) for key, value in one.value}
            one.value = list(last.values())
            stack += [part for pair in one.value for part in pair]
        elif isinstance(one, SequenceNode):
            stack += one.value


def _line(error: "MarkedYAMLError") -> str:
    mark = error.problem_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
