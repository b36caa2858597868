"""Rules: which images one entry of the images file stands for.

The tag syntax is image-syncer's: `repo:a,b` lists tags, `repo:/regex/` matches tags, `repo@sha256:...` is one digest.
No tag means `latest` in the list format, as in docker, and every tag in the map format.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from loguru import logger

from imageporter.model import reference, target_name
from imageporter.model.image import Image
from imageporter.model.platforms import Platforms
from imageporter.model.reference import Reference
from imageporter.model.tag_filter import Pattern, Selection, TagFilter

# RE2's errors for look-ahead, look-behind, and back-references by number or name.
_UNSUPPORTED = re.compile(r"invalid perl operator: (\(\?.*)|invalid escape sequence: (\\[1-9k].*)")


@dataclass(frozen=True, slots=True)
class TagSelector:
    """One side of a rule: at most one of the others is not None. None of them means every tag."""

    repository: Reference
    tags: tuple[str, ...] | None = None
    digest: str | None = None
    filter: TagFilter | None = None
    template: str | None = None  # of a target: what `{tag}` of the source completes

    @property
    def image_count(self) -> int | None:
        """How many images it names; None if that depends on the repository's tags."""
        return len(self.tags) if self.tags else 1 if self.digest else None

    @property
    def depends_on_tag(self) -> bool:
        """Whether the repository itself is only known once a tag is: `registry/{tag}`."""
        head, _, name = (self.template or "").rpartition("/")
        return target_name.TAG in head + name.partition(":")[0]

    def select(self, listed: Sequence[str]) -> Selection:
        """Return which of the tags `listed` in the repository it takes."""
        return self.filter.select(listed) if self.filter else Selection(listed, tuple(listed))

    def references(self) -> Iterator[Reference]:
        """Yield the references that it names itself, without those that only the registry knows."""
        host, path = self.repository.host, self.repository.path
        if self.digest:
            yield Reference(host, path, digest=self.digest)
        for tag in self.tags or ():
            yield Reference(host, path, tag)


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of the images file, for one of its targets. `location` is where it is written, `text` what is written."""

    location: str
    text: str
    source: TagSelector
    target: TagSelector
    platforms: Platforms | None = None
    referrers: bool = False
    signed_by: str | None = None
    yields: bool = False  # to an earlier rule with the same source and target, whose options may be newer

    @property
    def as_image(self) -> Image:
        """The rule as one image of two repositories, for what concerns all of it."""
        return Image(self.location, self.source.repository, self.target.repository)

    @property
    def needs_listing(self) -> bool:
        """Whether its images are only known once the source repository's tags are listed."""
        return self.source.image_count is None

    def sources(self, listed: Sequence[str] = ()) -> list[Reference]:
        """Return the references on its left side, given the tags `listed` in its source repository."""
        if not self.needs_listing:
            return list(self.source.references())
        return self.tagged(self.source.select(listed).tags)

    def tagged(self, tags: Iterable[str]) -> list[Reference]:
        """Return the `tags` of its source repository as references."""
        repository = self.source.repository
        return [Reference(repository.host, repository.path, tag) for tag in tags]

    def images(self, listed: Sequence[str] = ()) -> tuple[Image, ...]:
        """Return its images, given the tags `listed` in its source repository. Raises ValueError like `pair`."""
        return self.pair(self.sources(listed))

    def pair(self, sources: Sequence[Reference]) -> tuple[Image, ...]:
        """Return the images of `sources`.

        Raises ValueError if the target names a different number of references, or if no registry can have its name.
        """
        targets = list(self.target.references())
        if self.target.template is not None:
            targets = [target_name.with_tag(self.target.template, one) for one in sources]
        elif not targets:
            repository = self.target.repository
            targets = [Reference(repository.host, repository.path, one.tag, one.digest) for one in sources]
        if len(sources) != len(targets):
            raise ValueError(unequal_sides(self.text, len(sources), len(targets)))
        pairs = zip(sources, targets, strict=True)
        options = (self.platforms, self.referrers, self.signed_by)
        return tuple(Image(self.location, source, target, *options) for source, target in pairs)


def parse_selector(text: str, default_tag: str | None = None) -> TagSelector:
    """Parse one side of a rule. `default_tag` is used if there is no tag; None means every tag.

    Raises ValueError with a text that can follow "what: ".
    """
    plain, slash, pattern = text.partition(":/")
    given = reference.shown(text)
    if slash and "//" not in text[: len(plain) + 3]:
        if not pattern.endswith("/"):
            raise ValueError(f"{given!r} has a pattern that does not end in '/'; write repository:/pattern/")
        match = TagFilter(match=compile_pattern(pattern.removesuffix("/"), given))
        return TagSelector(_parse_repository(plain), filter=match)
    first, *others = text.split(",")
    parsed = reference.parse(first)
    repository = _repository(parsed.host, parsed.path)
    if parsed.digest:
        if others:
            raise ValueError(f"{given!r} has more than one digest; write one rule for each")
        return TagSelector(repository, digest=parsed.digest)
    if others and not parsed.tag:
        raise ValueError(f"{given!r} has a comma, but no tag before it; write repository:tag,tag")
    tags = [parsed.tag or default_tag, *(reference.parse_tag(tag, text) for tag in others)]
    return TagSelector(repository, tags=tuple(tag for tag in tags if tag) or None)


def parse_target(text: str, source: TagSelector, flatten: str | None, default_tag: str | None = None) -> TagSelector:
    """Parse the target of a rule with the given `source`, from which its name may be made; see `parse_selector`."""
    completed = target_name.complete_target(text, source.repository, flatten)
    if target_name.TAG not in completed:
        return parse_selector(completed, default_tag)
    if source.digest:
        raise ValueError(f"{reference.shown(text)!r} has {{tag}}, but the source is a digest; name a tag")
    sample = reference.parse(completed.replace(target_name.TAG, target_name.SAMPLE_TAG))
    return TagSelector(Reference(sample.host, sample.path), template=completed)


def compile_pattern(pattern: str, text: str) -> Pattern:
    """Compile a regular expression of RE2 (https://github.com/google/re2/wiki/Syntax), which `text` contains.

    RE2 is Go's syntax, and so image-syncer's. Its run time is linear, so no pattern can hang a pass or the hook.
    Raises ValueError like `parse_selector`.
    """
    import re2  # noqa: PLC0415 (only rules with a pattern pay for it)

    options = re2.Options()
    options.log_errors = False  # to stderr
    try:
        compiled: Pattern = re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        if unsupported := _UNSUPPORTED.fullmatch(reason):
            found = unsupported[1] or unsupported[2]
            raise ValueError(
                f"{text!r} has a pattern with {found!r}, which RE2 does not support (no look-ahead, look-behind or "
                "back-references); write a pattern of the tags to take, or list them: repository:tag,tag"
            ) from None
        if "too large" in reason:
            raise ValueError(f"{text[:40]!r}... has a pattern that is too large; write a simpler one") from None
        raise ValueError(f"{text!r} has a pattern that is not a regular expression: {reason}; correct it") from None
    return compiled


@functools.lru_cache(maxsize=1024)  # one object for the rules of a repository, which often follow each other
def _repository(host: str, path: str) -> Reference:
    return Reference(host, path)


def _parse_repository(text: str) -> Reference:
    parsed = reference.parse(text)
    if parsed.tag or parsed.digest:
        raise ValueError(f"{reference.shown(text)!r} has a tag or digest before its pattern; write repository:/pattern/")
    return parsed


def unequal_sides(text: str, sources: int, targets: int) -> str:
    """Return what is wrong with the rule `text`, whose sides name different numbers of references."""
    return f"{text} has {sources} on the left and {targets} on the right; write as many tags, or none, on the right"


def expand(
    rules: Iterable[Rule], list_tags: Callable[[Rule], Sequence[str] | None], refuse: Callable[[Image, str], None]
) -> Iterator[Image]:
    """Yield the images of all `rules`, in their order, each target once.

    `list_tags` returns the tags of a rule's source repository, or None to leave the rule out. `refuse` is called with an
    image and the reason, if an earlier rule with another source has its target already, and with a rule whose sides
    turn out to be unequal.
    """
    first: dict[Reference, Image] = {}
    for rule in rules:
        listed = list_tags(rule) if rule.needs_listing else ()
        if listed is None:
            continue
        if rule.needs_listing:
            selection = rule.source.select(listed)
            if rule.source.filter:
                logger.debug("{}: {}", rule.location, selection.counts)
            _check_count(rule, len(selection.tags), refuse)
            sources = rule.tagged(selection.tags)
        else:
            sources = rule.sources()
        try:
            images = rule.pair(sources)
        except ValueError as error:
            refuse(rule.as_image, str(error))
            continue
        for image in images:
            earlier = first.setdefault(image.target, image)
            if earlier is image:
                yield image
            elif earlier.source != image.source or (earlier.origin != image.origin and not rule.yields):
                refuse(image, f"is the target of {earlier.location} already, and of {image.location}; keep one")


def _check_count(rule: Rule, count: int, refuse: Callable[[Image, str], None]) -> None:
    """Warn of a rule that takes no tag, and refuse one that takes fewer than its minimum."""
    minimum = rule.source.filter.minimum if rule.source.filter else 0
    if count < minimum:
        taken = "1 tag" if count == 1 else f"{count} tags"
        advice = "sync.py --explain shows what drops the others"
        refuse(rule.as_image, f"takes {taken}, and `min` is {minimum}; {advice}")
    elif not count:
        logger.warning("{}: {} matches no tag", rule.location, rule.text)
