"""`sync.py --list-from`: rows of an images file for the images that another program's file names."""

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from imageporter.config import foreign_configs, foreign_files
from imageporter.config.file_formats import LARGEST, UnreadableError, parse_foreign_yaml, read_text
from imageporter.config.files import Location
from imageporter.config.foreign_files import ROOT, Entries, Entry, TargetMissingError
from imageporter.config.images_file import validate_images
from imageporter.model import reference
from imageporter.model.image import Image
from imageporter.model.reference import Reference
from imageporter.system.errors import Problems, UserError
from imageporter.system.plain_log import to_plain_line

STDIN = "-"
_DOCUMENT_END = re.compile(r"^---(?=\s|$)", re.MULTILINE)  # at the start of a line, it is never content
_ONLY_COMMENTS = re.compile(r"(?:\s*(?:[#%].*)?(?:\n|\Z))*")
_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any, str | None], Entries]], ...] = (
    (foreign_files.is_compose, foreign_files.from_compose),
    (foreign_configs.is_regsync, lambda data, _: foreign_configs.from_regsync(data)),
    (foreign_configs.is_dregsy, lambda data, _: foreign_configs.from_dregsy(data)),
    (foreign_configs.is_skopeo, foreign_configs.from_skopeo),
    (foreign_configs.is_image_map, lambda data, _: foreign_configs.from_image_map(data, ROOT)),
)
_ROW = Location(Path("row"))
_TEMPLATES = "has templates ({{ }}); render it first, as `helm template` does"


def print_rows(name: str, target: str | None) -> int:
    """Print rows for the images in the file `name`, and on stderr what has none; return the exit code.

    It is 0 if there is a row for everything, 1 if not, and 2 if the file or the target cannot be used.
    """
    try:
        _check_target(target)
        text = _read_stdin() if name == STDIN else read_text(Path(name))
        rows, lines = list_images(text, "standard input" if name == STDIN else name, target)
    except (UserError, UnreadableError) as error:
        sys.stderr.write(f"sync.py: error: {to_plain_line(str(error))}\n")
        return 2
    sys.stdout.write(to_yaml(rows))
    sys.stdout.flush()
    sys.stderr.writelines(f"- {to_plain_line(line)}\n" for line in lines)
    return int(bool(lines))


def list_images(text: str, name: str, target: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows for the images in `text`, the content of the file `name`, and a line for all that has no row.

    `target` is for images for which the file has none. Raises UnreadableError if nothing in `text` can be read, and
    UserError if `target` is missing.
    """
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    seen: set[str] = set()
    first: dict[Reference, tuple[str, Image]] = {}
    try:
        for entry in _entries(text, name, target):
            if entry.reason:
                lines.append(f"{entry.location}: {entry.reason}")
                continue
            row = dict(entry.row)
            images, problem = _validate(row)
            key = json.dumps(row)
            taken = [(image, *first[image.target]) for image in images if image.target in first]
            clash = [one for one in taken if one[0].origin != one[2].origin]
            if problem:
                lines.append(f"{entry.location}{problem}")
            elif clash or 0 < len(taken) < len(images):
                image, location, earlier = (clash or taken)[0]
                what = f"{image.target} is the target of {earlier.source} at {location} already"
                lines.append(f"{entry.location}: {what}; write a row with another target by hand")
            elif not taken and key not in seen:
                rows.append(row)
                seen.add(key)
                first |= {image.target: (entry.location, image) for image in images}
    except TargetMissingError:
        text = "is missing, and the file has no targets; write one like --target registry.example.com/mirror/"
        raise UserError([f"--target: {text}"]) from None
    if not rows and not lines:
        lines.append(f"{name}: names no image; nothing in it is `image:`, FROM or a list that is known")
    return rows, lines


def to_yaml(rows: list[dict[str, Any]]) -> str:
    """Return `rows` as YAML, a line for each key."""
    from ruamel.yaml import YAML  # noqa: PLC0415 (only YAML files pay for it)

    yaml, output = YAML(), io.StringIO()
    yaml.width = sys.maxsize  # a long line stays one
    yaml.dump(rows, output)
    return output.getvalue()


def _entries(text: str, name: str, target: str | None) -> Iterator[Entry]:
    """Yield what all documents in `text` name. Raises UnreadableError if there is one document, which cannot be read."""
    if foreign_files.is_dockerfile(text):
        yield from foreign_files.from_dockerfile(text, target)
        return
    documents = list(_documents(text))
    is_stream = len(documents) > 1
    for number, (lines_above, document) in enumerate(documents, 1):
        if is_stream and "image" not in document:
            continue  # reading YAML is slow, and half of a chart has no image
        prefix = f"document {number}: " if is_stream else ""
        try:
            data = _parse(Path(name), document, lines_above)
        except UnreadableError as error:
            text = _TEMPLATES if "{{" in document else error.text
            if not is_stream:
                raise UnreadableError(error.location, text) from None
            yield Entry(f"document {number}", reason=text)
            continue
        if isinstance(data, dict) and isinstance(data.get("kind"), str) and isinstance(data.get("metadata"), dict):
            prefix = f"{data['kind']}/{data['metadata'].get('name')}: "
        for entry in _convert(data, target):
            yield Entry(f"{prefix}{entry.location}", entry.row, entry.reason)


def _convert(data: Any, target: str | None) -> Entries:
    """Return what the document `data` names, by the kind that its content shows."""
    if isinstance(data, dict) and "kind" not in data:
        images = data.get("images")  # an older image-syncer has accounts beside them
        if foreign_configs.is_image_map(images):
            return foreign_configs.from_image_map(images, ROOT["images"])
        for is_kind, entries in _KINDS:
            if is_kind(data):
                return entries(data, target)
    return foreign_files.from_image_keys(data, ROOT, target)


def _documents(text: str) -> Iterator[tuple[int, str]]:
    """Yield the YAML documents in `text` that are more than comments, each with the number of lines above it."""
    start = 0
    for end in (*(mark.start() for mark in _DOCUMENT_END.finditer(text)), len(text)):
        document = text[start:end].removeprefix("---")
        if not _ONLY_COMMENTS.fullmatch(document):
            yield text.count("\n", 0, start), document
        start = end


def _parse(path: Path, document: str, lines_above: int) -> Any:
    if document.lstrip()[:1] in {"{", "["}:
        try:
            return json.loads(document, parse_float=str)
        except (ValueError, RecursionError):
            pass  # perhaps it is YAML, and if not, the error says where
    try:
        return parse_foreign_yaml(path, document)
    except UnreadableError:
        return parse_foreign_yaml(path, "\n" * lines_above + document)  # for the line in the error


def _validate(row: dict[str, Any]) -> tuple[list[Image], str]:
    """Return the images that `row` names itself, and what is wrong with it."""
    problems = Problems()
    rules = validate_images([row], _ROW, problems)
    for line in problems:
        _, where, text = line.split(": ", 2)  # `row: [0].tags.match: ...`
        key = where.removeprefix("[0]")
        return [], f"{'' if key in {'.source', '.target'} else key}: {text}"
    return [image for rule in rules if not rule.needs_listing for image in rule.images()], ""


def _check_target(target: str | None) -> None:
    """Raise UserError if `target` does not end where the path of an image, or its name, can stand."""
    if target is None:
        return
    _, problem = _validate({"source": "registry.example.com/name", "target": target})
    if not target.endswith(("/", "{repository}", "{name}")):
        problem = f": {reference.shown(target)!r} does not end in '/'; write one like registry.example.com/mirror/"
    if problem:
        raise UserError([f"--target{problem}"])


def _read_stdin() -> str:
    content = sys.stdin.buffer.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise UnreadableError("standard input", f"is larger than {LARGEST >> 20} MiB; split it")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError("standard input", f"is not UTF-8 text (byte {error.start})") from None
    if not text.strip():
        raise UnreadableError("standard input", "is empty; the command before it may have failed")
    return text
