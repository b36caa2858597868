"""Referrers: signatures, attestations and bills of materials of an image, which are copied along with it.

They hang on the image's digest in two ways: as tags that cosign derives from the digest (`sha256-<hex>.sig`), and as
manifests that name it as their subject. The registry lists the latter (the referrers API of OCI's distribution
specification 1.1); if it cannot, the tag `sha256-<hex>` is an index of them.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from imageporter.engine.backoff import Operation
from imageporter.engine.retry import Attempts, IndexedImage, Step
from imageporter.engine.slots import Slots
from imageporter.model.image import Image
from imageporter.model.platforms import index_children
from imageporter.model.reference import Reference, is_digest
from imageporter.registry.crane import DIGEST_TAG, Crane
from imageporter.registry.errors import ErrorKind, RegistryError
from imageporter.registry.lookup import DigestLookup

if TYPE_CHECKING:
    from imageporter.registry.client import Client  # which needs libcurl

COSIGN_SUFFIXES = ("sig", "att", "sbom")


@dataclass(frozen=True, slots=True)
class Attachment:
    """An image about an image, at the source and at the target."""

    source: Reference
    target: Reference
    digest: str


class Referrers:
    """Finds and copies what refers to an image, each in an attempt with a slot. Raises FailedError."""

    def __init__(self, client: "Client", crane: Crane, lookup: DigestLookup, seconds: float) -> None:
        """Let each request of the `client` take at most `seconds`."""
        self._client = client
        self._crane = crane
        self._lookup = lookup
        self._seconds = seconds
        self._tags: dict[Reference, asyncio.Task[frozenset[str]]] = {}
        # crane adds to the index `sha256-<hex>` by reading and writing it, so one copy at a time into a repository.
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def missing(self, image: IndexedImage, digests: Iterable[str], attempts: Attempts, slots: Slots) -> list[Attachment]:
        """Return what refers to one of `digests`, or to an image in their indexes, and is not at the target."""
        step = Step(Operation.LOOKUP, image.hosts, slots, restarts_clock=False)
        found: dict[Reference, Attachment] = {}
        for digest in digests:
            for one in await attempts.run(image, step, partial(self._missing, image.image, digest)):
                found[one.target] = one
        return list(found.values())

    async def copy(self, image: IndexedImage, found: Iterable[Attachment], attempts: Attempts, slots: Slots) -> None:
        """Copy what `missing` has found, and verify it."""
        step = Step(Operation.COPY, image.copy_hosts, slots, image.pair, restarts_clock=False)
        for one in found:
            await attempts.run(image, step, partial(self._copy, one))

    async def _missing(self, image: Image, digest: str) -> list[Attachment]:
        source, target = image.source, image.target
        children = index_children(await self._read("source", source, f"manifests/{digest}") or "")
        subjects = [digest, *(child for child, _ in children or () if is_digest(child))]
        tags = await self._digest_tags(Reference(source.host, source.path))
        found = [one for subject in subjects for one in await self._missing_tags(image, subject, tags)]
        for subject in subjects:
            there = await self._referrers("source", source, subject)
            here = await self._referrers("target", target, subject) if there else frozenset()
            found += [Attachment(source.at(one), target.at(one), one) for one in sorted(there - here)]
        return found

    async def _copy(self, attachment: Attachment) -> None:
        async with self._locks[attachment.target.repository]:
            await self._crane.copy(attachment.source, attachment.target)
            found = await self._lookup.digest("target", attachment.target)
        if found != attachment.digest:
            detail = f"has {found} after the copy of {attachment.source}"
            raise RegistryError("target", ErrorKind.OTHER, detail, attachment.target.host)

    async def _missing_tags(self, image: Image, subject: str, tags: Iterable[str]) -> list[Attachment]:
        """Return cosign's tags for `subject` whose target is not equal."""
        found = []
        for tag in cosign_tags(subject):
            if tag not in tags:
                continue
            source, target = (Reference(one.host, one.path, tag) for one in (image.source, image.target))
            digest = await self._lookup.digest("source", source)
            try:
                is_equal = await self._lookup.digest("target", target) == digest
            except RegistryError as error:
                if error.concerns_registry:
                    raise
                is_equal = False
            if not is_equal:
                found.append(Attachment(Reference(source.host, source.path, digest=digest), target, digest))
        return found

    async def _digest_tags(self, repository: Reference) -> frozenset[str]:
        """Return the tags of `repository` that are derived from digests. They are listed once."""
        task = self._tags.get(repository)
        if task is None:
            task = self._tags[repository] = asyncio.ensure_future(self._crane.list_digest_tags(repository))
        try:
            return await asyncio.shield(task)
        except RegistryError:
            self._tags.pop(repository, None)  # the next attempt asks again
            raise

    async def _referrers(self, subject_name: str, repository: Reference, digest: str) -> frozenset[str]:
        """Return the digests of what names `digest` as its subject."""
        listed = await self._read(subject_name, repository, f"referrers/{digest}")
        if listed is None:
            listed = await self._read(subject_name, repository, f"manifests/{fallback_tag(digest)}")
        children = index_children(listed or "") or ()
        return frozenset(child for child, _ in children if is_digest(child))

    async def _read(self, subject_name: str, repository: Reference, path: str) -> str | None:
        """Return the body of a GET request below `repository`; None if there is nothing."""
        response = await self._client.get(subject_name, repository, path, self._seconds)
        return response.body.decode(errors="replace") if response else None


def cosign_tags(digest: str) -> tuple[str, ...]:
    """Return the tags under which cosign stores things about `digest`."""
    return tuple(f"{fallback_tag(digest)}.{suffix}" for suffix in COSIGN_SUFFIXES)


def fallback_tag(digest: str) -> str:
    """Return the tag of the index of what refers to `digest`, in a registry without the referrers API."""
    return DIGEST_TAG + digest.removeprefix("sha256:")
