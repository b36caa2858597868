"""`make docs`: the tables of docs/settings.md, docs/files.md and docs/logs.md, in both languages, from the code.

The pages are written by hand around `<!-- name -->` and `<!-- /name -->`; what stands between them is made here. The English
texts are those of `--help` and of the JSON Schemas; reference_texts.py completes them, and has all of them in Chinese.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

BUNDLE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(BUNDLE), str(BUNDLE / "docs")]

from reference_texts import CHINESE, COLUMNS, DEFAULTS, FLAGS, GROUPS, INSTEAD, KINDS, NOTES, VARIABLES_IN_CHINESE  # noqa: E402

from imageporter.config import command_line, values  # noqa: E402
from imageporter.config.json_schema import schemas  # noqa: E402
from imageporter.config.settings import VARIABLES, Secret, Variable, flag_of  # noqa: E402

IN_CHINESE = 1  # its place in a pair of texts
FOLDERS = (BUNDLE / "docs", BUNDLE / "docs" / "zh")
PAGES = ("settings.md", "files.md", "logs.md")
# What a table shows: the name of its block, the schema, and the object in it.
OBJECTS = (
    ("accounts", "accounts", "AccountEntry"),
    ("images", "images", "ImageEntry"),
    ("tags", "images", "TagsEntry"),
    ("signed", "images", "SignedEntry"),
    ("config", "config", ""),
    ("sync", "config", "Sync"),
    ("report", "report", "Report"),
    ("image-rows", "report", "ImageRow"),
)


def main() -> int:
    """Write every page anew."""
    try:
        tables = [dict(all_tables(language)) for language in range(len(FOLDERS))]
        paths = [(language, folder / name) for language, folder in enumerate(FOLDERS) for name in PAGES]
        pages = [(path, rendered(path.read_text(), tables[language], path)) for language, path in paths]
    except ValueError as error:
        print(f"docs/reference.py: {error}", file=sys.stderr)
        return 1
    for path, page in pages:
        path.write_text(page, encoding="utf-8")
    return 0


def rendered(page: str, tables: Mapping[str, str], path: Path) -> str:
    """Return the page at `path` with `tables` in its blocks of these names. Raises ValueError if a block is not whole."""
    for name in re.findall(r"<!-- /(\S+) -->", page):
        if name in tables:
            begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
            if page.count(begin) != 1 or page.count(end) != 1:
                raise ValueError(f"{path}: `<!-- {name} -->` must begin exactly one block")
            before, _, rest = page.partition(begin)
            page = before + begin + tables[name] + end + rest.partition(end)[2]
    return page


def all_tables(language: int) -> Iterator[tuple[str, str]]:
    """Yield the name of each block, and what belongs into it. Raises ValueError if a Chinese text is missing."""
    for name, variables in GROUPS.items():
        yield name, _table(language, "variables", (_variable(VARIABLES[one], language) for one in variables))
    yield "flags", _table(language, "flags", _flags(language))
    every = schemas()
    for name, file, definition in OBJECTS:
        schema = every[file]
        found = schema["$defs"][definition] if definition in schema.get("$defs", {}) else schema
        yield name, _table(language, "keys", _keys(found, schema.get("$defs", {}), language, is_report=file == "report"))


def _table(language: int, kind: str, rows: Iterator[tuple[str, ...]]) -> str:
    heads = COLUMNS[kind][language]
    lines = [heads, ("---",) * len(heads), *rows]
    text = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
    return text.replace("|  |", "| |")


def _variable(variable: Variable, language: int) -> tuple[str, str, str, str]:
    """Return the row of a variable: its name, its default, its values and its meaning."""
    name = variable.name
    shown = (", ", "、")[language].join((f"`{name}`", f"`{name}_FILE`")) if variable.is_secret else f"`{name}`"
    given = command_line.shown(variable.default)
    default = DEFAULTS[name][language] if name in DEFAULTS else f"`{given}`" if given else ""
    if language == IN_CHINESE:
        meaning = _in_chinese("VARIABLES_IN_CHINESE", VARIABLES_IN_CHINESE, name)
    else:
        meaning = ". ".join(text for text in (INSTEAD.get(name, variable.description), NOTES.get(name, "")) if text)
    if flag_of(variable.field) in {word.rstrip(",") for flag, _ in command_line.flags() for word in flag.split()}:
        meaning += (f". Flag: `{flag_of(variable.field)}`", f"。命令行参数：`{flag_of(variable.field)}`")[language]
    return shown, default, _kind(variable.parse, language), meaning


def _in_chinese(table: str, texts: Mapping[str, str], key: str) -> str:
    """Return the Chinese text for `key`. Raises ValueError, which says where to write it, if there is none."""
    if key not in texts:
        raise ValueError(f"docs/reference_texts.py: {table} has no {key!r}; add it, in Chinese")
    return texts[key]


def _kind(parse: Callable[[str], Any], language: int) -> str:
    """Return which values a parser accepts."""
    if parse is Secret:
        return KINDS["secret"][language]
    limits = inspect.getclosurevars(parse).nonlocals
    if "least" in limits:
        return KINDS["whole_number"][language].format(**limits)
    if "words" in limits:
        words = (", ", "、")[language].join(f"`{word}`" for word in limits["words"])
        is_list = parse.__qualname__.startswith(values.some_of.__name__)
        return KINDS["some_of"][language].format(words) if is_list else words
    return KINDS[parse.__name__][language]


def _flags(language: int) -> Iterator[tuple[str, str]]:
    for flag, meaning in command_line.flags():
        yield f"`{flag}`", _in_chinese("FLAGS", FLAGS, flag) if language == IN_CHINESE else meaning


def _keys(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], language: int, *, is_report: bool
) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each key of an object: the key, its type and its meaning.

    Most keys of files may be left out, and most keys of reports are always there: the others are marked.
    """
    required = schema.get("required", ())
    for key, value in schema["properties"].items():
        described = value.get("description", "")
        meaning = _in_chinese("CHINESE", CHINESE, described) if language == IN_CHINESE and described else described
        mark = "" if (key in required) == is_report else KINDS["not_always" if is_report else "required"][language]
        yield f"`{key}`{mark}", _type(value, definitions, language), meaning


def _type(value: Mapping[str, Any], definitions: Mapping[str, Any], language: int) -> str:  # noqa: PLR0911 (one for each kind)
    """Return the words for a schema's type."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return KINDS[name][language] if name in KINDS else _type(definitions[name], definitions, language)
    if options := value.get("anyOf") or value.get("oneOf"):
        words = [_type(option, definitions, language) for option in options if option.get("type") != "null"]
        return (" or ", "或")[language].join(dict.fromkeys(words))
    if "enum" in value:
        return (", ", "、")[language].join(f"`{word}`" for word in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if value.get("format") == "date-time":
        return KINDS["time"][language]
    if value["type"] == "integer" and "maximum" in value:
        return KINDS["whole_number"][language].format(least=value["minimum"], most=value["maximum"])
    if value["type"] == "array" and value["items"].get("type") == "string":
        return KINDS["strings"][language]
    if value["type"] == "array":
        return KINDS["list_of"][language].format(_type(value["items"], definitions, language))
    return KINDS[value["type"]][language]


if __name__ == "__main__":
    sys.exit(main())
