"""The content of a target: the source's digest, or what remains of its index with `platforms`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from imageporter.model import platforms as platform_model
from imageporter.model.image import Image
from imageporter.model.reference import Reference
from imageporter.registry.cosign import Cosign
from imageporter.registry.crane import Crane
from imageporter.registry.errors import ErrorKind, RegistryError
from imageporter.registry.lookup import DigestLookup

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Content:
    """What a target shall be, made from the digest `source`.

    `digest` is the digest that it shall have. None: it shall be an index of `children` (digests), whose own digest is only
    known once crane has made it.
    """

    source: str
    digest: str | None
    children: tuple[str, ...] | None = None


class Contents:
    """Finds out the content of targets with platforms, and copies contents. Every method may raise RegistryError."""

    def __init__(self, crane: Crane, lookup: DigestLookup, cosign: Cosign | None = None) -> None:
        """`cosign` is only needed for images that must be signed."""
        self._crane = crane
        self._lookup = lookup
        self._cosign = cosign

    async def select(self, image: Image, digest: str) -> Content:
        """Return the content that the target of `image` shall have if its source is `digest`."""
        assert image.platforms is not None  # noqa: S101 (for mypy)
        platforms, source = image.platforms, image.source.at(digest)
        manifest = await self._crane.manifest("source", source)
        children = _checked(source, lambda: platform_model.select_children(manifest, platforms))
        if children is None:
            config = await self._crane.config("source", source)
            _checked(source, lambda: platform_model.require_platform(config, platforms))
            return Content(digest, digest)
        return Content(digest, children[0] if platforms.is_single else None, children)

    async def is_index_of(self, target: Reference, children: tuple[str, ...]) -> bool:
        """Return whether `target`, a digest, is an index of exactly `children`."""
        found = platform_model.index_children(await self._crane.manifest("target", target))
        return found is not None and tuple(digest for digest, _ in found) == children

    async def copy(self, image: Image, content: Content) -> str:
        """Copy `content` to the target, and return its digest once the target has been verified.

        A source that must be signed is verified first.
        """
        target = image.target
        if image.signed_by is not None:
            if self._cosign is None:
                raise RegistryError("source", ErrorKind.REJECTED, "there is no cosign to verify its signature")
            await self._cosign.verify(image.source.at(content.source), Path(image.signed_by))
        if content.digest is not None:
            # By digest, so that a tag which moves meanwhile cannot mix two images.
            await copy_verified(self._crane, self._lookup, image.source.at(content.digest), target)
            return content.digest
        assert image.platforms is not None  # noqa: S101 (for mypy)
        assert content.children is not None  # noqa: S101
        await self._crane.filter_index(image.source.at(content.source), target, image.platforms.names)
        found = await self._lookup.digest("target", target)
        if not await self.is_index_of(target.at(found), content.children):
            detail = f"{found} is not an index of {image.platforms} after the copy of {content.source}"
            raise RegistryError("target", ErrorKind.OTHER, detail, target.host)
        return found


async def copy_verified(crane: Crane, lookup: DigestLookup, source: Reference, target: Reference) -> None:
    """Copy `source`, a digest, to `target`, and raise RegistryError if the target is not that digest afterwards."""
    await crane.copy(source, target)
    found = await lookup.digest("target", target)
    if found != source.digest:
        raise RegistryError("target", ErrorKind.OTHER, f"has {found} after the copy of {source.digest}", target.host)


def _checked(source: Reference, work: Callable[[], T]) -> T:
    """Return the result of `work`. A platform that is missing is an error of the source."""
    try:
        return work()
    except ValueError as error:
        detail = f"{source} {error}"
        raise RegistryError("source", ErrorKind.NOT_FOUND, detail, source.host, shared=str(error)) from None
