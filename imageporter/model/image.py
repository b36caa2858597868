"""An image: one source and one target, which a pass makes equal."""

from dataclasses import dataclass
from urllib.parse import quote, unquote

from imageporter.model import platforms as platform_model
from imageporter.model.platforms import Platforms
from imageporter.model.reference import Reference

REFERRERS = "+referrers"
SIGNED_BY = "+signed-by="


@dataclass(frozen=True, slots=True)
class Image:
    """A pair of references. `location` is the location of its rule in the file.

    With `platforms`, the target is not equal to the source, but receives the images of these platforms only. With
    `referrers`, it also receives what refers to the image: signatures and the like. `signed_by` is the path of the public
    key with which the source must be signed.
    """

    location: str
    source: Reference
    target: Reference
    platforms: Platforms | None = None
    referrers: bool = False
    signed_by: str | None = None

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"

    @property
    def names_tags(self) -> bool:
        """Whether it is one image, and not a rule of which only the repositories are known."""
        return bool((self.source.tag or self.source.digest) and (self.target.tag or self.target.digest))

    @property
    def origin(self) -> str:
        """What the target is made from, as text: the source, and each of the options that it has."""
        options = [str(self.platforms)] if self.platforms else []
        options += [REFERRERS] if self.referrers else []
        options += [SIGNED_BY + quote(self.signed_by)] if self.signed_by else []
        return " ".join([str(self.source), *options])


def split_origin(origin: str) -> tuple[str, Platforms | None, bool, str | None]:
    """Return the source of an `origin`, and its platforms, referrers and key. Raises ValueError."""
    source, *options = origin.split(" ")
    if len({option.partition("=")[0] if option.startswith("+") else "" for option in options}) < len(options):
        raise ValueError(f"{origin!r} has an option twice")
    if unknown := [one for one in options if one.startswith("+") and one != REFERRERS and not one.startswith(SIGNED_BY)]:
        raise ValueError(f"{origin!r} has the unknown option {unknown[0]!r}")
    platforms = [platform_model.parse_text(option) for option in options if not option.startswith("+")]
    keys = [unquote(option.removeprefix(SIGNED_BY)) for option in options if option.startswith(SIGNED_BY)]
    return source, platforms[0] if platforms else None, REFERRERS in options, keys[0] if keys else None
