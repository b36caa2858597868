"""The images file, in both formats, read into rules."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter

from imageporter.config import files
from imageporter.config.files import Location
from imageporter.config.rule_options import (
    NESTED_KEYS,
    NO_OPTIONS,
    OPTION_KEYS,
    OptionsEntry,
    one_or_many,
    select_tags,
    with_defaults,
)
from imageporter.model import platforms, reference, target_name
from imageporter.model.image import Image
from imageporter.model.reference import DEFAULT_TAG, Reference
from imageporter.model.rule import Rule, parse_selector, parse_target, unequal_sides
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
    if target_name.depends_on_source(value):
        target_name.check_target(value)
        return str(value)  # its name is validated once the source is known
    selector = parse_selector(value)
    if "/" not in value and "." in value.partition(":")[0]:
        name = reference.shown(value)
        raise ValueError(f"{name!r} is a registry without a repository; write {name}/ to keep the source's path")
    if selector.filter:
        raise ValueError(f"{reference.shown(value)!r} has a pattern; a target names its tags, or none")
    if selector.digest and reference.parse(value).tag:
        raise ValueError(f"{reference.shown(value)!r} has a tag and a digest; leave the digest out")
    return str(value)


def _one_or_many_or_object(value: Any) -> str | None:
    return "<object>" if isinstance(value, dict) else one_or_many(value)


Source = Annotated[str, AfterValidator(_source)]
Target = Annotated[str, AfterValidator(_target)]
Targets = Annotated[
    Annotated[Target, Tag("<one>")] | Annotated[list[Target], Field(min_length=1), Tag("<many>")],
    Discriminator(
        one_or_many,
        custom_error_type="target_type",
        custom_error_message="must be a reference, or a list of references",
    ),
]


class ImageEntry(OptionsEntry):
    """A row of the list format."""

    source: Source = Field(description="host/repository:tag; also :tag,tag or :/regex/ or @sha256:...; no tag: latest")
    target: Targets = Field(
        description="host/repository:tag, or a list of them; no tag: latest, or the source's tags if it has several; "
        "host/prefix/ keeps the source's path; {registry}, {repository}, {name} and {tag} are the source's"
    )


class TargetEntry(OptionsEntry):
    """The right side of an entry of the map format, if it has options."""

    target: Targets = Field(description="host/repository:tag, or a list of them; no tag: the source's")


MapValue = Annotated[
    Annotated[Target, Tag("<one>")]
    | Annotated[list[Target], Field(min_length=1), Tag("<many>")]
    | Annotated[TargetEntry, Tag("<object>")],
    Discriminator(
        _one_or_many_or_object,
        custom_error_type="target_type",
        custom_error_message="must be a reference, a list of references, or an object with a target",
    ),
]


class _Pair(BaseModel):
    """An entry of the map format. The names are not keys of the file, and not shown (see files.PYDANTICS_OWN)."""

    model_config = ConfigDict(strict=True, defer_build=True)

    source: Source = Field(alias="<source>")
    target: MapValue = Field(alias="<target>")


@dataclass(frozen=True, slots=True)
class _Entry:
    """A valid entry of either format; `location` is that of its target."""

    location: Location
    source: str
    targets: str | list[str]
    options: OptionsEntry


_LIST = TypeAdapter(list[Any])
_PAIR = TypeAdapter(_Pair)
_ENTRY = TypeAdapter(ImageEntry)
_MAP = TypeAdapter(dict[str, Any])
_DEFAULTS = TypeAdapter(OptionsEntry)
_ROW_KEYS = ("source", "target")
_KEYS = (*_ROW_KEYS, *OPTION_KEYS)
_MAP_KEYS = ("target", *OPTION_KEYS)


def find_images_file() -> Path | None:
    """Return the images file of the working directory, or None."""
    return files.find_file(STEMS)


def load_images(path: Path, problems: Problems) -> tuple[Rule, ...]:
    """Read the images file `path`; see `validate_images`."""
    data = files.load_file(path, problems)
    return () if data is files.UNREADABLE else validate_images(data, Location(path), problems)


def validate_defaults(data: Any, location: Location, problems: Problems) -> OptionsEntry:
    """Return the options in `data`, found at `location`, for rules without their own. Mistakes are added to `problems`."""
    return files.validate(_DEFAULTS, data, location, problems, OPTION_KEYS, nested=NESTED_KEYS) or NO_OPTIONS


def validate_images(
    data: Any, location: Location, problems: Problems, defaults: OptionsEntry = NO_OPTIONS
) -> tuple[Rule, ...]:
    """Return the rules in `data`, found at `location`: a list of `{source, target}`, or a map `{source: target}`.

    A target may be a list, and stand in an object with options, which `defaults` complete. Mistakes are added to `problems`.
    """
    rules = []
    default_tag = None if isinstance(data, dict) else DEFAULT_TAG
    for entry in _entries(data, location, problems):
        targets = entry.targets
        for index, target in enumerate(targets if isinstance(targets, list) else [targets]):
            where = entry.location[index] if isinstance(targets, list) else entry.location
            try:
                rule = _rule(where, entry, target, default_tag, defaults)
                _require_equal_sides(rule)
                if not rule.needs_listing:
                    rule.images()  # may have names that no registry can have
                rules.append(rule)
            except ValueError as error:
                problems.add(f"{location.path}: {where.inside}", str(error))
    _refuse_duplicates(location.path, rules, problems, same_pair_too=default_tag is not None)
    return tuple(rules)


def _entries(data: Any, location: Location, problems: Problems) -> Iterator[_Entry]:
    """Yield the valid entries of either format."""
    if isinstance(data, dict):
        if files.add_missing_brackets(data, _ROW_KEYS, location, problems):
            return
        for source, value in (files.validate(_MAP, data, location, problems, ()) or {}).items():
            if source.lower() in ACCOUNT_KEYS:
                text = "is a key of an account, not a source; put it where the accounts are"
                problems.add(location[source], text)
                continue
            entry = {"<source>": source, "<target>": value}
            if pair := files.validate(_PAIR, entry, location[source], problems, _MAP_KEYS, nested=NESTED_KEYS):
                if isinstance(pair.target, TargetEntry):
                    yield _Entry(location[source]["target"], pair.source, pair.target.target, pair.target)
                else:
                    yield _Entry(location[source], pair.source, pair.target, NO_OPTIONS)
        return
    rows = files.validate(_LIST, data, location, problems, ())
    for index, value in enumerate(rows or []):
        if row := files.validate(_ENTRY, value, location[index], problems, _KEYS, nested=NESTED_KEYS):
            yield _Entry(location[index]["target"], row.source, row.target, row)


def _rule(location: Location, entry: _Entry, target: str, default_tag: str | None, defaults: OptionsEntry) -> Rule:
    """Return the rule of one target of `entry`. Raises ValueError."""
    own, options = entry.options.tags, with_defaults(entry.options, defaults)
    left = parse_selector(entry.source, default_tag if own is None else None)
    if own is not None and (left.image_count is not None or left.filter):
        raise ValueError(f"{reference.shown(entry.source)!r} chooses tags, and so does `tags`; leave out one or the other")
    is_given = "tags" in entry.options.model_fields_set  # perhaps as null: no filter
    left = select_tags(left, own, None if is_given else defaults.tags)
    # If several tags arrive, or the name is the source's, "no tag" cannot mean `latest`.
    keeps_tag = left.image_count != 1 or own is not None or target_name.depends_on_source(target)
    right = parse_target(target, left, options.flatten, None if keeps_tag else default_tag)
    if entry.options.flatten and not target_name.depends_on_source(target):
        raise ValueError(f"{reference.shown(target)!r} is not made from the source, so `flatten` has no effect; leave it out")
    if options.platforms and left.digest and right.image_count is None:
        raise ValueError(
            f"{reference.shown(target)!r} has no tag, and an index of some platforms has another digest; add a tag"
        )
    chosen = platforms.parse(options.platforms) if options.platforms else None
    return Rule(
        location.inside, f"{entry.source!r} -> {target!r}", left, right, chosen, bool(options.referrers), _key(options)
    )


def _key(options: OptionsEntry) -> str | None:
    """Return the path of the public key of `signed`."""
    return options.signed.key if options.signed else None


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
        if earlier is not image and (same_pair_too or earlier.origin != image.origin):
            text = f"{image.target} is the target at {earlier.location} already; keep one"
            problems.add(f"{path}: {image.location}", text)
