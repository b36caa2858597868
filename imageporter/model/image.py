"""An image: one source and one target, which a pass makes equal."""

from dataclasses import dataclass

from imageporter.model import platforms as platform_model
from imageporter.model.platforms import Platforms
from imageporter.model.reference import Reference

REFERRERS = "+referrers"


@dataclass(frozen=True, slots=True)
class Image:
    """A pair of references. `location` is the location of its rule in the file.

    With `platforms`, the target is not equal to the source, but receives the images of these platforms only. With
    `referrers`, it also receives what refers to the image: signatures and the like.
    """

    location: str
    source: Reference
    target: Reference
    platforms: Platforms | None = None
    referrers: bool = False

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"

    @property
    def origin(self) -> str:
        """What the target is made from, as text: the source, then the platforms and `+referrers` if there are any."""
        options = (str(self.platforms) if self.platforms else "", REFERRERS if self.referrers else "")
        return " ".join([str(self.source), *filter(None, options)])


def split_origin(origin: str) -> tuple[str, Platforms | None, bool]:
    """Return the source of an `origin`, its platforms, and whether its referrers are copied. Raises ValueError."""
    source, *options = origin.split(" ")
    platforms = [platform_model.parse_text(option) for option in options if option != REFERRERS]
    return source, platforms[0] if platforms else None, REFERRERS in options
