"""An image: one source and one target, which a pass makes equal."""

from dataclasses import dataclass

from imageporter.model.reference import Reference


@dataclass(frozen=True, slots=True)
class Image:
    """A pair of references. `location` is the location of its rule in the file."""

    location: str
    source: Reference
    target: Reference

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"
