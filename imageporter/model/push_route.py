"""A route for pushes: a row of image-syncer's `registry.reg[]`."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from imageporter.model import reference
from imageporter.model.image import Image
from imageporter.model.reference import Reference


@dataclass(frozen=True)
class PushRoute:
    """`source/namespace/image:tag` goes to `destination/namespace/image:tag`.

    `sources` and `destinations` are registries, or parts of them (`quay.io/mirror`). `location` is the row's location
    in the file.
    """

    location: str
    sources: tuple[str, ...]
    namespaces: tuple[str, ...]
    destinations: tuple[str, ...]

    def images(self, pushed: Reference) -> Iterator[Image]:
        """Yield the images that the push of the tag `pushed` asks for."""
        for source in self.sources:
            for namespace in self.namespaces:
                if not pushed.repository.startswith(f"{source}/{namespace}/"):
                    continue
                rest = pushed.repository.removeprefix(f"{source}/")
                for destination in self.destinations:
                    with suppress(ValueError):  # the target's name may be too long
                        target = reference.parse(f"{destination}/{rest}")
                        yield Image(self.location, pushed, replace(target, tag=pushed.tag))
