"""The options of a rule, which stand next to its target: keys of a row, of an object in the map, and of `defaults`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from imageporter.model import platforms, target_name
from imageporter.model.rule import TagSelector, compile_pattern
from imageporter.model.tag_filter import Sort, TagFilter, TagMatcher, parse_matcher, parse_range
from imageporter.system.regular_files import TooLargeError, read_regular_file

MOST_TAGS = 1_000_000
LARGEST_KEY = 1 << 16  # bytes


def _as_list(value: Any) -> Any:
    return value if value is None or isinstance(value, list | dict) else [value]


def _pattern(text: str) -> str:
    if len(text) < 3 or not (text.startswith("/") and text.endswith("/")):
        raise ValueError(f"{text!r} is not a pattern; write it between slashes: /^v1/")
    compile_pattern(text[1:-1], text)
    return text


def _range(text: str) -> str:
    parse_range(text)
    return text


def _tag_names(texts: list[str]) -> list[str]:
    parse_matcher(texts, compile_pattern)
    return texts


def _key_file(text: str) -> str:
    try:
        content = read_regular_file(Path(text), LARGEST_KEY)
    except (OSError, TooLargeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is too large, or no file"
        raise ValueError(f"{text!r} cannot be read: {reason}; name the file with cosign's public key") from None
    if b"-----BEGIN PUBLIC KEY-----" not in content:
        raise ValueError(f"{text!r} contains no public key; name the file that `cosign generate-key-pair` calls cosign.pub")
    return text


def _separator(text: str) -> str:
    target_name.check_separator(text)
    return text


def _platforms(value: str | list[str]) -> str | list[str]:
    platforms.parse(value)
    return value


TagNames = Annotated[
    list[str],
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
    AfterValidator(_tag_names),
    Field(min_length=1),
]


def one_or_many(value: Any) -> str | None:
    """Return the tag of a value that may be one text or a list of them, for a Discriminator."""
    return "<one>" if isinstance(value, str) else "<many>" if isinstance(value, list) else None


PlatformNames = Annotated[
    Annotated[str, Tag("<one>")] | Annotated[list[str], Field(min_length=1), Tag("<many>")],
    Discriminator(
        one_or_many,
        custom_error_type="target_type",
        custom_error_message="must be a platform, or a list of platforms",
    ),
    AfterValidator(_platforms),
]


class TagsEntry(BaseModel):
    """Which tags of the source repository are taken: match, semver, exclude, sort, newest; then include adds to them."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    match: Annotated[str, AfterValidator(_pattern)] | None = Field(
        None, description="/pattern/ of RE2 that is searched in the tag; a first group extracts its version"
    )
    semver: Annotated[str, AfterValidator(_range)] | None = Field(None, description="range of npm: '>=7 <9', '^1.2 || 3.x'")
    exclude: TagNames | None = Field(None, description="tags, globs or /patterns/ that are never taken")
    include: TagNames | None = Field(None, description="tags, globs or /patterns/ that are always taken, unless excluded")
    sort: Literal["semver", "natural", "alphabetical"] | None = Field(
        None, description="order for newest; default: semver if most tags are versions, else natural"
    )
    newest: Annotated[int, Field(ge=1, le=MOST_TAGS)] | None = Field(None, description="take only so many, the newest")
    min: Annotated[int, Field(ge=1, le=MOST_TAGS)] | None = Field(None, description="fewer tags than this are a failure")

    def to_filter(self) -> TagFilter:
        """Return the filter of the rule."""
        matched, ranged, include = self.match, self.semver, tuple(self.include or ())
        matcher = parse_matcher(include, compile_pattern)
        return TagFilter(
            match=compile_pattern(matched[1:-1], matched) if matched else None,
            semver=parse_range(ranged) if ranged is not None else None,
            semver_text=ranged or "",
            exclude=parse_matcher(self.exclude or (), compile_pattern),
            include=matcher,
            include_names=tuple(name for name in include if name in matcher.names),
            sort=Sort(self.sort) if self.sort else None,
            newest=self.newest,
            minimum=self.min or 0,
        )


class SignedEntry(BaseModel):
    """Who must have signed a source, so that it is copied."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    key: Annotated[str, AfterValidator(_key_file)] = Field(description="file with cosign's public key")


class OptionsEntry(BaseModel):
    """The options themselves. Both formats, and `defaults`, have the same."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    tags: TagsEntry | None = Field(None, description="which tags of the source repository are taken")
    platforms: PlatformNames | None = Field(
        None, description="what a target receives of an index: an index of these (a list), or one image (a string)"
    )
    referrers: bool | None = Field(None, description="copy signatures, attestations and other referrers, too")
    signed: SignedEntry | None = Field(None, description="copy a source only if cosign finds it signed")
    flatten: Annotated[str, AfterValidator(_separator)] | None = Field(
        None, description="joins the components of the source's path in a target, for registries with two levels: '-'"
    )


OPTION_KEYS = tuple(OptionsEntry.model_fields)
NESTED_KEYS = {"tags": tuple(TagsEntry.model_fields), "signed": ("key",)}  # the keys of an option that is an object
NO_OPTIONS = OptionsEntry()


def with_defaults(entry: OptionsEntry, defaults: OptionsEntry) -> OptionsEntry:
    """Return the options of `entry`, completed by `defaults` key by key."""
    given = {name: getattr(entry, name) for name in entry.model_fields_set if name in OPTION_KEYS}
    return OptionsEntry.model_construct(**{name: getattr(defaults, name) for name in OPTION_KEYS} | given)


def select_tags(source: TagSelector, own: TagsEntry | None, default: TagsEntry | None) -> TagSelector:
    """Return `source` with the tags that its rule's `own` options choose, or else the `default` ones.

    Defaults only concern a source that does not name its tags. Raises ValueError like `parse_selector`.
    """
    if own is None:
        if default is None or source.image_count is not None:
            return source
        chosen = default.to_filter()
        if source.filter is not None:
            chosen = replace(chosen, match=source.filter.match, include=TagMatcher(), include_names=())
        return TagSelector(source.repository, filter=chosen)
    chosen = own.to_filter()
    if chosen.needs_listing:
        return TagSelector(source.repository, filter=chosen)
    if not chosen.names:
        raise ValueError("takes no tag, because `exclude` drops every name in `include`; correct them")
    return TagSelector(source.repository, tags=chosen.names)
