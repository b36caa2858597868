"""Images in Compose files, Kubernetes manifests and Dockerfiles.

Nothing is executed, no other file is read and no variable is guessed. What cannot be converted is reported.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imageporter.config.files import Location
from imageporter.model import reference, target_name

Entries = Iterator["Entry"]
ROOT = Location(Path())
BY_HAND = "write the image by hand"
_STAGE = re.compile(r"FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?\s*", re.IGNORECASE)
_COPY_FROM = re.compile(r"(?:COPY|ADD)\s+(?:--\S+\s+)*?--from=(\S+)\s.*", re.IGNORECASE | re.DOTALL)
_HEREDOC = re.compile(r"<<(-?)([\"']?)([A-Za-z_]\w*)\2")
_FIRST_INSTRUCTION = re.compile(r"(?:[ \t]*(?:#.*)?\r?\n)*[ \t]*(?:FROM|ARG)[ \t]", re.IGNORECASE)


class TargetMissingError(Exception):
    """The file names images without a target."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a file has at `location`: a row of the images file, or the `reason` why it cannot be one."""

    location: str
    row: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""


def is_dockerfile(text: str) -> bool:
    """Return whether the first instruction of `text` is one that a Dockerfile begins with."""
    return bool(_FIRST_INSTRUCTION.match(text))


def from_dockerfile(text: str, target: str | None) -> Entries:
    """Yield the images of FROM, and of `COPY --from`, that are no stage of the Dockerfile."""
    stages = {"scratch"}
    for number, instruction in _instructions(text):
        if not instruction.upper().startswith(("FROM ", "FROM\t")):
            copied = _COPY_FROM.fullmatch(instruction)
            if copied and not copied[1].isdigit() and copied[1].lower() not in stages:
                yield _image(f"line {number}", copied[1], target)
        elif found := _STAGE.fullmatch(instruction):
            image, stage = found[1], found[2]
            if image.lower() not in stages:
                yield _image(f"line {number}", image, target)
            if stage:
                stages.add(stage.lower())
        else:
            yield Entry(f"line {number}", reason=f"is not like FROM image AS stage; {BY_HAND}")


def _instructions(text: str) -> Iterator[tuple[int, str]]:
    """Yield each instruction with the number of its first line: continued lines joined, here-documents left out."""
    escape = "`" if re.match(r"(?:#.*\n)*#\s*escape\s*=\s*`", text, re.IGNORECASE) else "\\"
    lines, position = text.splitlines(), 0
    while position < len(lines):
        instruction, first = lines[position].strip(), position + 1
        position += 1
        if not instruction or instruction.startswith("#"):
            continue
        while instruction.endswith(escape) and position < len(lines):
            following = lines[position].strip()
            position += 1
            if following and not following.startswith("#"):  # neither ends what is continued
                instruction = f"{instruction[:-1]} {following}"
        if instruction.split()[0].upper() in {"RUN", "COPY", "ADD"}:
            for dash, _, end in _HEREDOC.findall(instruction):
                ends = (index for index in range(position, len(lines)) if _dedent(lines[index], dash) == end)
                position = next(ends, position - 1) + 1  # without an end, it was no here-document: `1<<N`
        yield first, instruction


def _dedent(line: str, dash: str) -> str:
    return line.lstrip("\t") if dash else line


def _image(location: str, text: str, target: str | None) -> Entry:
    """Return the row that copies the one image `text` below `target`."""
    if reason := find_variable(text):
        return Entry(location, reason=reason)
    try:
        image = reference.parse(text)
    except ValueError as error:
        return Entry(location, reason=str(error))
    if target is None:
        raise TargetMissingError
    if image.tag and image.digest:  # a rule for a digest would drop the tag, and a registry may delete what has none
        target = f"{target_name.complete_target(target, image, None)}:{image.tag}"
    return Entry(location, {"source": text, "target": target})


def find_variable(text: str) -> str:
    """Return what is wrong if `text` is not what it will be when it is used."""
    if "{{" in text:
        return f"{reference.shown(text)!r} is a template; render it first, or {BY_HAND}"
    return f"{reference.shown(text)!r} has a variable; {BY_HAND}" if "$" in text else ""


def from_image_keys(data: Any, at: Location, target: str | None) -> Entries:
    """Yield the images of all keys `image`, at any depth: Kubernetes' and others'."""
    if isinstance(data, list):
        for index, value in enumerate(data):
            yield from from_image_keys(value, at[index], target)
    elif isinstance(data, dict):
        for key, value in data.items():
            here = at[key if isinstance(key, str | int) else str(key)]
            if key == "image" and isinstance(value, str):
                yield _image(here.inside, value, target)
            elif key == "image" and isinstance(value, dict) and isinstance(value.get("reference"), str):  # a volume's
                yield _image(here["reference"].inside, value["reference"], target)
            elif key == "image" and isinstance(value, dict) and isinstance(value.get("repository"), str):
                yield Entry(here.inside, reason=f"is an object, whose parts only its program can join; {BY_HAND}")
            else:
                yield from from_image_keys(value, here, target)


def is_compose(data: Mapping[Any, Any]) -> bool:
    """Return whether `data` is a Compose file."""
    return isinstance(data.get("services"), dict)


def from_compose(data: Mapping[Any, Any], target: str | None) -> Entries:
    """Yield the images of the services that are not built."""
    if data.get("include"):
        yield Entry("include", reason="other files are not read; list their images as well")
    for name, service in data["services"].items():
        here = ROOT["services"][str(name)]
        if not isinstance(service, dict):
            continue
        extended = service.get("extends")
        if isinstance(extended, dict) and extended.get("file"):
            yield Entry(here["extends"].inside, reason="other files are not read; list their images as well")
        image = service.get("image")
        if not isinstance(image, str):
            continue
        if service.get("build"):
            reason = f"{reference.shown(image)!r} is built by this file; if a registry has it, {BY_HAND}"
            yield Entry(here["image"].inside, reason=reason)
        else:
            yield _image(here["image"].inside, image, target)
