"""The tag filter of a rule: which of a repository's tags it takes, in which order, and why it drops the others.

The order is fixed: match, semver, exclude, sort, newest, then the tags to include.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from imageporter.model import reference

# The version in a tag, as lenient as the charts and images of the world: `v1.2`, `1.2.3-rc1`, Helm's `1.2.3_build`.
# Numbers have 15 digits at most, npm's limit (JavaScript's safe integers).
_PARTS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = re.compile(rf"[vV=]?(\d{{1,15}}(?:\.\d{{1,15}}){{0,2}})((?:-{_PARTS})?)(?:[+_]({_PARTS}))?")
_LONGEST_RANGE = 500  # characters
_GLOB = re.compile(r"[A-Za-z0-9_.*?-]+")
_DIGITS = re.compile(r"(\d+)")
PRERELEASE = "a prerelease is only taken if the range names one of the same version, as '>=7.2.0-rc1' does"
_GLOB_PARTS = {"*": ".*", "?": "."}


class Pattern(Protocol):
    """A compiled regular expression (RE2), which is searched in a tag."""

    def search(self, text: str, /) -> Any: ...


class Sort(Enum):
    """How tags are ordered, the newest last."""

    SEMVER = "semver"
    NATURAL = "natural"
    ALPHABETICAL = "alphabetical"


class VersionRange(Protocol):
    """A range of npm: `>=7 <9`, `^1.2 || 3.x`."""

    def test(self, version: Any, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class TagMatcher:
    """Some tags: plain `names`, and patterns made from globs and regular expressions."""

    names: frozenset[str] = frozenset()
    patterns: tuple[tuple[str, Pattern], ...] = ()

    def __bool__(self) -> bool:
        """Return whether anything can match."""
        return bool(self.names or self.patterns)

    def find(self, tag: str) -> str | None:
        """Return what matches `tag`: the name, glob or pattern as it is written; None if nothing does."""
        if tag in self.names:
            return tag
        return next((text for text, pattern in self.patterns if pattern.search(tag)), None)


@dataclass(frozen=True, slots=True)
class Stage:
    """How many tags a filter has left, and why it dropped a tag: by tag."""

    name: str
    left: int
    dropped: dict[str, str]


@dataclass(frozen=True, slots=True)
class Selection:
    """The tags that a filter takes of those `listed`, in their order but the included ones last, and what each stage did."""

    listed: Sequence[str]
    tags: tuple[str, ...]
    stages: tuple[Stage, ...] = ()

    @property
    def counts(self) -> str:
        """How many tags each stage has left: `412 listed, 96 after semver`."""
        return ", ".join([f"{len(self.listed)} listed", *(f"{stage.left} after {stage.name}" for stage in self.stages)])

    def why_dropped(self, tag: str) -> str | None:
        """Return which filter dropped `tag`, and why; None if it is taken, or was never there."""
        if tag in self.tags:
            return None
        # The last one: what `include` takes in spite of the others may still be excluded.
        return next((f"{stage.name}: {stage.dropped[tag]}" for stage in reversed(self.stages) if tag in stage.dropped), None)


@dataclass(frozen=True, slots=True)
class TagFilter:
    """The `tags` of a rule. What is None filters nothing. `minimum` is the least number of tags that is no failure."""

    match: Pattern | None = None
    semver: VersionRange | None = None
    semver_text: str = ""
    exclude: TagMatcher = TagMatcher()
    include: TagMatcher = TagMatcher()
    include_names: tuple[str, ...] = ()  # in the order of the file
    sort: Sort | None = None
    newest: int | None = None
    minimum: int = 0

    @property
    def takes_only_included(self) -> bool:
        """Whether nothing but `include` chooses tags, so that there is nothing to add to."""
        others = (self.match, self.semver, self.newest)
        excludes_others = self.exclude.patterns or self.exclude.names - self.include.names
        return bool(self.include and not excludes_others) and all(other is None for other in others)

    @property
    def needs_listing(self) -> bool:
        """Whether the repository's tags must be listed. Names alone never need that."""
        return not self.takes_only_included or bool(self.include.patterns) or self.minimum > 0

    @property
    def is_pattern(self) -> bool:
        """Whether it is no more than a pattern: `repository:/pattern/`."""
        return self == TagFilter(self.match)

    @property
    def names(self) -> tuple[str, ...]:
        """The tags that are taken whether they are listed or not."""
        return tuple(name for name in self.include_names if not self.exclude.find(name))

    def drop_reason(self, tag: str) -> str | None:
        """Return why `tag` is not taken; None if it may be taken. `newest` drops no tag that is alone."""
        return self.select([tag]).why_dropped(tag)

    def select(self, listed: Sequence[str]) -> Selection:
        """Return which of the tags `listed` in a repository are taken."""
        stages: list[Stage] = []
        versions = self._versions(listed, stages)
        if self.exclude:
            _drop(versions, self._excluded(versions), "exclude", stages)
        if self.newest is not None:
            sort = self._sort_of(versions)
            older = _sorted(versions, sort)[: -self.newest]
            reason = f"it is not among the newest {self.newest} by {sort.value}"
            _drop(versions, dict.fromkeys(older, reason), "newest", stages)
        included = [tag for tag in listed if self.include.find(tag)]
        excluded = self._excluded(included)
        taken = dict.fromkeys(tag for tag in listed if tag in versions)
        taken |= dict.fromkeys(tag for tag in included if tag not in excluded)
        tags = tuple(taken | dict.fromkeys(self.names))
        if self.include and not self.takes_only_included:
            stages.append(Stage("include", len(tags), excluded))
        return Selection(listed, tags, tuple(stages))

    def _excluded(self, tags: Iterable[str]) -> dict[str, str]:
        """Return which of `tags` are excluded, and why."""
        return {tag: f"{found!r} excludes it" for tag in tags if (found := self.exclude.find(tag))}

    def _versions(self, listed: Sequence[str], stages: list[Stage]) -> dict[str, str]:
        """Return the tags that `match` and `semver` leave, each with the text of its version."""
        versions = {tag: tag for tag in listed}
        if self.takes_only_included:
            dropped = {tag: "nothing in `include` names it" for tag in listed if not self.include.find(tag)}
            _drop(versions, dropped, "include", stages)
            return versions
        if self.match is not None:
            found = {tag: self.match.search(tag) for tag in listed}
            versions = {tag: (one.group(1) or "") if one.re.groups else tag for tag, one in found.items() if one}
            dropped = dict.fromkeys((tag for tag, one in found.items() if not one), "it does not match")
            stages.append(Stage("match", len(versions), dropped))
        if self.semver is not None:
            semver = self.semver
            dropped = {}
            for tag, text in versions.items():
                version = parse_version(text)
                if version is None:
                    dropped[tag] = "it is not a version" if text == tag else f"{text!r} is not a version"
                elif not semver.test(version):
                    hint = f"; {PRERELEASE}" if version.prerelease else ""
                    dropped[tag] = f"it is not in {self.semver_text!r}{hint}"
            _drop(versions, dropped, "semver", stages)
        return versions

    def _sort_of(self, versions: dict[str, str]) -> Sort:
        """Return the given order; semver if most tags are versions."""
        if self.sort is not None:
            return self.sort
        parsed = sum(_VERSION.fullmatch(text) is not None for text in versions.values())
        return Sort.SEMVER if 2 * parsed > len(versions) else Sort.NATURAL


def _sorted(versions: dict[str, str], sort: Sort) -> list[str]:
    """Return the tags, the newest last. A tag that is no version is older than every version."""
    key = _KEYS[sort]
    return [tag for *_, tag in sorted((key(text), _natural_key(tag), tag) for tag, text in versions.items())]


def _drop(versions: dict[str, str], dropped: dict[str, str], name: str, stages: list[Stage]) -> None:
    """Remove the `dropped` tags, and add a stage."""
    for tag in dropped:
        del versions[tag]
    stages.append(Stage(name, len(versions), dropped))


def parse_version(text: str) -> Any | None:
    """Return the version in `text` (npm's, read leniently); None if it is none."""
    import nodesemver  # noqa: PLC0415 (only a filter with versions pays for it)

    found = _VERSION.fullmatch(text)
    if not found:
        return None
    numbers = found[1].split(".")
    plain = ".".join([*map(str, map(int, numbers)), *["0"] * (3 - len(numbers))])
    try:
        return nodesemver.make_semver(f"{plain}{found[2]}{'+' + found[3] if found[3] else ''}", loose=True)
    except ValueError:
        return None


def parse_range(text: str) -> VersionRange:
    """Return a range of npm (https://github.com/npm/node-semver#ranges). Raises ValueError like `parse_selector`."""
    import nodesemver  # noqa: PLC0415

    parsed: VersionRange | None = None
    if len(text) <= _LONGEST_RANGE:
        with suppress(ValueError):
            # Not leniently: npm would ignore what it does not understand.
            parsed = nodesemver.make_range(" ".join(text.split()), loose=False)
    if parsed is None:
        advice = "separate with spaces, and write for example '>=7 <9', '^1.2' or '1.x || 2.x'"
        raise ValueError(f"{text[:_LONGEST_RANGE]!r} is not a range of versions; {advice}")
    return parsed


def parse_matcher(texts: Iterable[str], compile_pattern: Callable[[str, str], Pattern]) -> TagMatcher:
    """Return the tags that `texts` name: each a tag, a glob with `*` and `?`, or a `/pattern/`. Raises ValueError."""
    names, patterns = [], []
    for text in texts:
        if text.startswith("/"):
            if len(text) < 3 or not text.endswith("/"):
                raise ValueError(f"{text!r} has a pattern that does not end in '/'; write /pattern/")
            patterns.append((text, compile_pattern(text[1:-1], text)))
        elif _GLOB.fullmatch(text) and ("*" in text or "?" in text):
            parts = "".join(_GLOB_PARTS.get(letter) or re.escape(letter) for letter in text)
            patterns.append((text, compile_pattern(f"^(?:{parts})$", text)))
        elif reference.is_tag(text):
            names.append(text)
        else:
            raise ValueError(f"{text!r} is neither a tag nor a glob like '*-rc*'; write a regular expression as /pattern/")
    return TagMatcher(frozenset(names), tuple(patterns))


def _semver_key(text: str) -> tuple[Any, ...]:
    """Return the precedence of semver.org: numbers, then a release after its prereleases. No version comes first."""
    version = parse_version(text)
    if version is None:
        return (0, _natural_key(text))
    prerelease = [(0, part) if isinstance(part, int) else (1, part) for part in version.prerelease]
    return (1, version.major, version.minor, version.patch, not prerelease, prerelease, _natural_key(text))


def _natural_key(text: str) -> list[int | str]:
    """Order numbers by their value: `v9` before `v10`."""
    # Text and numbers take turns, beginning with a text that may be empty.
    return [int(part) if index % 2 else part for index, part in enumerate(_DIGITS.split(text))]


_KEYS: dict[Sort, Callable[[str], Any]] = {
    Sort.SEMVER: _semver_key,
    Sort.NATURAL: _natural_key,
    Sort.ALPHABETICAL: str,
}
