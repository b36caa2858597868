"""The images, of both formats -> Rules; a Rule and its repository's tags -> Images, the pairs of source and target.

The tag syntax is image-syncer's: `repo:a,b` lists tags, `repo:/regex/` matches tags, `repo@sha256:...` is one
digest. No tag means `latest` in the list format, as docker has it, and every tag in the map format.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from loguru import logger
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter

from imageporter.config.configuration import accounts_file
from imageporter.config.configuration import files
from imageporter.model import reference
from imageporter.model.reference import DEFAULT_TAG, Reference

STEMS = ("images",)


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a rule. At most one of `tags`, `pattern` and `digest` is not None; none of them: every tag."""

    repository: Reference
    tags: tuple[str, ...] | None = None
    pattern: re.Pattern[str] | None = None
    digest: str | None = None

    @property
    def counted(self) -> int | None:
        """How many images it names; None where only the repository's tags can tell."""
        return len(self.tags) if self.tags else 1 if self.digest else None

    def named(self) -> Iterator[Reference]:
        """The references that it names without asking the registry."""
        if self.digest:
            yield replace(self.repository, digest=self.digest)
        for tag in self.tags or ():
            yield replace(self.repository, tag=tag)


@dataclass(frozen=True, slots=True)
class Image:
    """One source and one target: what a pass makes equal. `place` is where its rule stands."""

    place: str
    source: Reference
    target: Reference


@dataclass(frozen=True, slots=True)
class Rule:
    """What one entry of the images file asks of one target. `place` is where it stands, `text` how it is written."""

    place: str
    text: str
    source: Side
    target: Side

    @property
    def whole(self) -> Image:
        """The rule as one image, for what concerns all of it: its two repositories."""
        return Image(self.place, self.source.repository, self.target.repository)

    @property
    def open(self) -> bool:
        """Whether the repository's tags must be listed to know its images."""
        return self.source.counted is None

    def sources(self, listed: Iterable[str] = ()) -> list[Reference]:
        """The references on its left side, where `listed` are the tags of its source repository."""
        if not self.open:
            return list(self.source.named())
        wanted = (tag for tag in listed if self.source.pattern is None or self.source.pattern.search(tag))
        return [replace(self.source.repository, tag=tag) for tag in wanted]

    def images(self, listed: Iterable[str] = ()) -> tuple[Image, ...]:
        """The images that it asks for, where `listed` are the tags of its source repository; see `pairs`."""
        return self.pairs(self.sources(listed))

    def pairs(self, sources: Sequence[Reference]) -> tuple[Image, ...]:
        """The images of `sources`. Raises ValueError where the target names another number of them."""
        targets = list(self.target.named())
        if not targets:
            targets = [replace(self.target.repository, tag=one.tag, digest=one.digest) for one in sources]
        if len(sources) != len(targets):
            raise ValueError(_unequal(self.text, len(sources), len(targets)))
        return tuple(Image(self.place, source, target) for source, target in zip(sources, targets, strict=True))


def parse_side(text: str, missing: str | None = None) -> Side:
    """Read one side of a rule; `missing` is the tag that no tag means, None for every tag.

    Raises ValueError with what is wrong, fit to follow "what: ".
    """
    plain, slash, pattern = text.partition(":/")
    if slash and "//" not in text[: len(plain) + 3]:
        if not pattern.endswith("/") or pattern == "/":
            raise ValueError(f"{text!r} has a pattern that does not end in '/'; write repository:/pattern/")
        return Side(_bare(plain), pattern=_compiled(pattern.removesuffix("/"), text))
    first, *others = text.split(",")
    parsed = reference.parse(first)
    repository = replace(parsed, tag=None, digest=None)
    if parsed.digest:
        if others:
            raise ValueError(f"{text!r} has more than one digest; write one rule for each")
        return Side(repository, digest=parsed.digest)
    if others and not parsed.tag:
        raise ValueError(f"{text!r} has a comma, but no tag before it; write repository:tag,tag")
    tags = [parsed.tag or missing, *(reference.parse_tag(tag, text) for tag in others)]
    return Side(repository, tags=tuple(tag for tag in tags if tag) or None)


def _compiled(pattern: str, text: str) -> re.Pattern[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            return re.compile(pattern)
    except FutureWarning:
        raise ValueError(f"{text!r} has a set within a set, which Python does not have; write [0-9] for [[:digit:]]") from None
    except re.error as error:
        raise ValueError(f"{text!r} has a pattern that is no regular expression: {error}") from None
    except (OverflowError, RecursionError):
        raise ValueError(f"{text[:40]!r}... has a pattern that is too large; write a simpler one") from None


def _bare(text: str) -> Reference:
    parsed = reference.parse(text)
    if parsed.tag or parsed.digest:
        raise ValueError(f"{text!r} has a tag or digest before its pattern; write repository:/pattern/")
    return parsed


def _unequal(text: str, sources: int, targets: int) -> str:
    return f"{text} has {sources} on the left and {targets} on the right; write as many tags, or none, on the right"


def _source(value: Any) -> str:
    parse_side(value)
    return str(value)


def _target(value: Any) -> str:
    side = parse_side(value)
    if side.pattern:
        raise ValueError(f"{value!r} has a pattern; a target names its tags, or none")
    if side.digest and reference.parse(value).tag:
        raise ValueError(f"{value!r} has a tag and a digest; leave the digest out")
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


class Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    source: Source = Field(description="host/repository:tag; also :tag,tag or :/regex/ or @sha256:...; no tag: latest")
    target: Targets = Field(
        description="host/repository:tag, or a list of them; no tag: latest, or the source's where it has several"
    )


class _Pair(BaseModel):
    """An entry of the map format; the names are no keys of the file, and not shown (see files.PYDANTICS_OWN)."""

    model_config = ConfigDict(strict=True)

    source: Source = Field(alias="<source>")
    target: Targets = Field(alias="<target>")


_LIST = TypeAdapter(list[Any])
_ENTRY = TypeAdapter(_Pair)
_ROW = TypeAdapter(Row)
_MAP = TypeAdapter(dict[str, Any])
SCHEMA: TypeAdapter[Any] = TypeAdapter(list[Row] | dict[str, Targets])
_KEYS = tuple(Row.model_fields)


def find() -> Path | None:
    """The images file of the working directory, or None."""
    return files.find(STEMS)


def read(path: Path, mistakes: list[str]) -> tuple[Rule, ...]:
    """Read the images file `path`; see `check`."""
    data = files.load(path, mistakes)
    return () if data is files.UNREADABLE else check(data, files.Place(path), mistakes)


def check(data: Any, place: files.Place, mistakes: list[str]) -> tuple[Rule, ...]:
    """The rules in `data`, which stands at `place`: a list of `{source, target}`, or a map `{source: target}`.

    A target may be a list. What is wrong is added to `mistakes`.
    """
    rules = []
    missing = None if isinstance(data, dict) else DEFAULT_TAG
    for where, source, targets in _entries(data, place, mistakes):
        for index, target in enumerate(targets if isinstance(targets, list) else [targets]):
            rule = _rule(where[index] if isinstance(targets, list) else where, source, target, missing)
            try:
                _refuse_unequal(rule)
                rules.append(rule)
            except ValueError as error:
                mistakes.append(f"{place.path}: {rule.place}: {error}")
    _refuse_duplicates(place.path, rules, mistakes, same_pair_too=missing is not None)
    return tuple(rules)


def _entries(data: Any, place: files.Place, mistakes: list[str]) -> Iterator[tuple[files.Place, str, str | list[str]]]:
    """The entries of either format that are right in themselves: the target's place, the source, the target or targets."""
    if isinstance(data, dict):
        for source, targets in (files.check(_MAP, data, place, mistakes, ()) or {}).items():
            if source in accounts.KEYS:  # whose value is not for the log
                mistakes.append(f"{place[source]}: is a key of an account, not a source; put it where the accounts are")
                continue
            if pair := files.check(_ENTRY, {"<source>": source, "<target>": targets}, place[source], mistakes, ()):
                yield place[source], pair.source, pair.target
        return
    rows = files.check(_LIST, data, place, mistakes, ())
    for index, value in enumerate(rows or []):
        if row := files.check(_ROW, value, place[index], mistakes, _KEYS):
            yield place[index]["target"], row.source, row.target


def _rule(place: files.Place, source: str, target: str, missing: str | None) -> Rule:
    left = parse_side(source, missing)
    # Where several tags arrive, "no tag" cannot mean one: they keep their names.
    several = left.counted is None or left.counted > 1
    return Rule(place.inside, f"{source!r} -> {target!r}", left, parse_side(target, None if several else missing))


def _refuse_unequal(rule: Rule) -> None:
    source, target = rule.source, rule.target
    if target.digest and target.digest != source.digest:
        raise ValueError(f"{rule.text} has a digest on the right that is not the one on the left; leave it out")
    if None not in {source.counted, target.counted} and source.counted != target.counted:
        raise ValueError(_unequal(rule.text, source.counted or 0, target.counted or 0))


def _refuse_duplicates(path: Path, rules: Sequence[Rule], mistakes: list[str], *, same_pair_too: bool) -> None:
    """Add to `mistakes` every target that an earlier rule has already, where that is known without asking a registry."""
    first: dict[Reference, Image] = {}
    for image in (image for rule in rules if not rule.open for image in rule.images()):
        earlier = first.setdefault(image.target, image)
        if earlier is not image and (same_pair_too or earlier.source != image.source):
            mistakes.append(f"{path}: {image.place}: {image.target} is the target at {earlier.place} already; keep one")


def expand(
    rules: Iterable[Rule], tags: Callable[[Rule], Iterable[str] | None], refuse: Callable[[Image, str], None]
) -> Iterator[Image]:
    """The images of all `rules`, in their order, each target once.

    `tags` lists those of an open rule's repository, or gives None to leave the rule out.
    `refuse` is told of an image, with the reason, whose target an earlier rule has already with another
    source, and of a rule whose two sides turn out unequal.
    """
    first: dict[Reference, Image] = {}
    for rule in rules:
        listed = tags(rule) if rule.open else ()
        if listed is None:
            continue
        sources = rule.sources(listed)
        if rule.open and not sources:
            logger.warning("{}: {} matches no tag", rule.place, rule.text)
        try:
            images = rule.pairs(sources)
        except ValueError as error:
            refuse(rule.whole, str(error))
            continue
        for image in images:
            earlier = first.setdefault(image.target, image)
            if earlier is image:
                yield image
            elif earlier.source != image.source:
                refuse(image, f"is the target of {earlier.place} already, and of {image.place}; keep one")
