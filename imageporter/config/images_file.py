"""The images file, in both formats, read into rules."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter

from imageporter.config import files
from imageporter.config.files import Location
from imageporter.model import reference
from imageporter.model.image import Image
from imageporter.model.reference import DEFAULT_TAG, Reference
from imageporter.model.rule import Rule, parse_selector, unequal_sides
from imageporter.system.errors import Problems

STEMS = ("images",)
# A map of images with one of these keys is probably an account, whose value must not be shown.
ACCOUNT_KEYS = frozenset(
    {"registry", "username", "password", "insecure", "user", "login", "passwd", "pass", "pwd", "token", "secret", "auth"}
)


def _source(value: Any) -> str:
    parse_selector(value)
    return str(value)


def _target(value: Any) -> str:
    selector = parse_selector(value)
    if selector.pattern:
        raise ValueError(f"{reference.shown(value)!r} has a pattern; a target names its tags, or none")
    if selector.digest and reference.parse(value).tag:
        raise ValueError(f"{reference.shown(value)!r} has a tag and a digest; leave the digest out")
    return str(value)


def _one_or_many(value: Any) -> str | None:
    return "<one>" if isinstance(value, str) else "<many>" if isinstance(value, list) else None


Source = Annotated[str, AfterValidator(_source)]
Target = Annotated[str, AfterValidator(_target)]
Targets = Annotated[
    Annotated[Target, Tag("<one>")] | Annotated[list[Target], Field(min_length=1), Tag("<many>")],
    Discriminator(
        _one_or_many,
        custom_error_type="target_type",
        custom_error_message="must be a reference, or a list of references",
    ),
]


class ImageEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    source: Source = Field(description="host/repository:tag; also :tag,tag or :/regex/ or @sha256:...; no tag: latest")
    target: Targets = Field(
        description="host/repository:tag, or a list of them; no tag: latest, or the source's tags if it has several"
    )


class _Pair(BaseModel):
    """An entry of the map format. The names are not keys of the file, and not shown (see files.PYDANTICS_OWN)."""

    model_config = ConfigDict(strict=True, defer_build=True)

    source: Source = Field(alias="<source>")
    target: Targets = Field(alias="<target>")


_LIST = TypeAdapter(list[Any])
_PAIR = TypeAdapter(_Pair)
_ENTRY = TypeAdapter(ImageEntry)
_MAP = TypeAdapter(dict[str, Any])
_KEYS = tuple(ImageEntry.model_fields)


def find_images_file() -> Path | None:
    """Return the images file of the working directory, or None."""
    return files.find_file(STEMS)


def load_images(path: Path, problems: Problems) -> tuple[Rule, ...]:
    """Read the images file `path`; see `validate_images`."""
    data = files.load_file(path, problems)
    return () if data is files.UNREADABLE else validate_images(data, Location(path), problems)


def validate_images(data: Any, location: Location, problems: Problems) -> tuple[Rule, ...]:
    """Return the rules in `data`, found at `location`: a list of `{source, target}`, or a map `{source: target}`.

    A target may be a list. Mistakes are added to `problems`.
    """
    rules = []
    default_tag = None if isinstance(data, dict) else DEFAULT_TAG
    for where, source, targets in _entries(data, location, problems):
        for index, target in enumerate(targets if isinstance(targets, list) else [targets]):
            rule = _rule(where[index] if isinstance(targets, list) else where, source, target, default_tag)
            try:
                _require_equal_sides(rule)
                rules.append(rule)
            except ValueError as error:
                problems.add(f"{location.path}: {rule.location}", str(error))
    _refuse_duplicates(location.path, rules, problems, same_pair_too=default_tag is not None)
    return tuple(rules)


def _entries(data: Any, location: Location, problems: Problems) -> Iterator[tuple[Location, str, str | list[str]]]:
    """Yield the valid entries of either format: the target's location, the source, the target or targets."""
    if isinstance(data, dict):
        if files.add_missing_brackets(data, _KEYS, location, problems):
            return
        for source, targets in (files.validate(_MAP, data, location, problems, ()) or {}).items():
            if source.lower() in ACCOUNT_KEYS:
                text = "is a key of an account, not a source; put it where the accounts are"
                problems.add(location[source], text)
                continue
            entry = {"<source>": source, "<target>": targets}
            if pair := files.validate(_PAIR, entry, location[source], problems, ()):
                yield location[source], pair.source, pair.target
        return
    rows = files.validate(_LIST, data, location, problems, ())
    for index, value in enumerate(rows or []):
        if row := files.validate(_ENTRY, value, location[index], problems, _KEYS):
            yield location[index]["target"], row.source, row.target


def _rule(location: Location, source: str, target: str, default_tag: str | None) -> Rule:
    left = parse_selector(source, default_tag)
    # If several tags arrive, "no tag" cannot mean one tag: they keep their names.
    several = left.image_count is None or left.image_count > 1
    right = parse_selector(target, None if several else default_tag)
    return Rule(location.inside, f"{source!r} -> {target!r}", left, right)


def _require_equal_sides(rule: Rule) -> None:
    source, target = rule.source, rule.target
    if target.digest and target.digest != source.digest:
        raise ValueError(f"{rule.text} has a digest on the right that is not the one on the left; leave it out")
    if None not in {source.image_count, target.image_count} and source.image_count != target.image_count:
        raise ValueError(unequal_sides(rule.text, source.image_count or 0, target.image_count or 0))


def _refuse_duplicates(path: Path, rules: Sequence[Rule], problems: Problems, *, same_pair_too: bool) -> None:
    """Add every target that an earlier rule has already to `problems`, if that is known without asking a registry."""
    first: dict[Reference, Image] = {}
    for image in (image for rule in rules if not rule.needs_listing for image in rule.images()):
        earlier = first.setdefault(image.target, image)
        if earlier is not image and (same_pair_too or earlier.source != image.source):
            text = f"{image.target} is the target at {earlier.location} already; keep one"
            problems.add(f"{path}: {image.location}", text)
