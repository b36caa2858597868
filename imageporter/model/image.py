"""An image: one source and one target, which a pass makes equal."""

from dataclasses import dataclass

from imageporter.model import platforms as platform_model
from imageporter.model.platforms import Platforms
from imageporter.model.reference import Reference


@dataclass(frozen=True, slots=True)
class Image:
    """A pair of references. `location` is the location of its rule in the file.

    With `platforms`, the target is not equal to the source, but receives the images of these platforms only.
    """

    location: str
    source: Reference
    target: Reference
    platforms: Platforms | None = None

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"

    @property
    def origin(self) -> str:
        """What the target is made from, as text: the source, and the platforms if there are any."""
        return f"{self.source} {self.platforms}" if self.platforms else str(self.source)


def split_origin(origin: str) -> tuple[str, Platforms | None]:
    """Return the source and the platforms of an `origin`. Raises ValueError."""
    source, _, platforms = origin.partition(" ")
    return source, platform_model.parse_text(platforms) if platforms else None
