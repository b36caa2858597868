"""Referrers: signatures, attestations and bills of materials of an image, which are copied along with it.

They hang on the image's digest in two ways: as tags that cosign derives from the digest (`sha256-<hex>.sig`), and as
manifests that name it as their subject. The registry lists the latter (the referrers API of OCI's distribution
specification 1.1); if it cannot, the tag `sha256-<hex>` is an index of them.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from imageporter.engine.backoff import Operation
from imageporter.engine.content import copy_verified
from imageporter.engine.retry import Attempts, FailedError, IndexedImage, Step
from imageporter.engine.slots import Slots
from imageporter.model.image import Image
from imageporter.model.platforms import index_children
from imageporter.model.reference import DIGEST_TAG, Reference, is_digest
from imageporter.registry.crane import Crane
from imageporter.registry.errors import REFUSED, ErrorKind, RegistryError
from imageporter.registry.lookup import DigestLookup
from imageporter.system.tasks import shared_result

if TYPE_CHECKING:
    from imageporter.registry.client import Client  # which needs libcurl

COSIGN_SUFFIXES = ("sig", "att", "sbom")
MOST_SUBJECTS = 1000
MOST_PAGES = 100
UNSEEN = frozenset({ErrorKind.NOT_FOUND}) | REFUSED  # not there, or not for this account
_LINK = re.compile(r"\s*<([^>]+)>\s*;.*\brel=\"?next\"?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Attachment:
    """An image about an image: its digest at the source, and where it belongs at the target.

    `subject` is the digest that it names; None for cosign's tags.
    """

    source: Reference
    target: Reference
    subject: str | None = None


class Referrers:
    """Finds and copies what refers to an image, each in an attempt with a slot. Raises FailedError."""

    def __init__(self, client: "Client", crane: Crane, lookup: DigestLookup, seconds: float) -> None:
        """Let each request of the `client` take at most `seconds`."""
        self._client = client
        self._crane = crane
        self._lookup = lookup
        self._seconds = seconds
        self._tags: dict[Reference, asyncio.Task[frozenset[str] | None]] = {}
        # crane adds to the index `sha256-<hex>` by reading and writing it, so one copy at a time into a repository.
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def close(self) -> None:
        """Cancel the listings of tags that are still running."""
        for task in self._tags.values():
            task.cancel()
        await asyncio.gather(*self._tags.values(), return_exceptions=True)

    async def missing(self, image: IndexedImage, digests: Iterable[str], attempts: Attempts, slots: Slots) -> list[Attachment]:
        """Return what refers to one of `digests`, or to an image in their indexes, and is not at the target."""
        step = Step(Operation.LOOKUP, image.hosts, slots, restarts_clock=False)
        found: dict[Reference, Attachment] = {}
        for digest in digests:
            for one in await attempts.run(image, step, partial(self._missing, image.image, digest)):
                found[one.target] = one
        return list(found.values())

    async def copy(self, image: IndexedImage, found: Iterable[Attachment], attempts: Attempts, slots: Slots) -> None:
        """Copy what `missing` has found, and verify it. All are tried; then the first error is raised."""
        step = Step(Operation.COPY, image.copy_hosts, slots, image.pair, restarts_clock=False)
        errors = []
        for one in found:
            try:
                await attempts.run(image, step, partial(self._copy, one))
            except FailedError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    async def _missing(self, image: Image, digest: str) -> list[Attachment]:
        source, target = image.source, image.target
        subjects = await self._subjects(source, digest)
        tags = await self._digest_tags(Reference(source.host, source.path))
        found = [one for subject in subjects for one in await self._missing_tags(image, subject, tags)]
        for subject in subjects:
            there = await self._list("source", source, subject, may_be_tagged=tags is None or fallback_tag(subject) in tags)
            here = await self._list("target", target, subject) if there else frozenset()
            found += [Attachment(source.at(one), target.at(one), subject) for one in sorted(there - here)]
        return found

    async def _subjects(self, source: Reference, digest: str) -> list[str]:
        """Return `digest` and, if it is an index, the digests in it and in the indexes in it."""
        subjects = {digest: None}
        unread = [digest]
        while unread and len(subjects) < MOST_SUBJECTS:
            children = index_children(await self._crane.manifest("source", source.at(unread.pop()))) or ()
            new = [child for child, _ in children if is_digest(child) and child not in subjects]
            # Only an index in an index has children of its own, and its platform is not named.
            unread += [child for child, platform in children if child in new and not platform]
            subjects |= dict.fromkeys(new)
        return list(subjects)

    async def _copy(self, attachment: Attachment) -> None:
        target = attachment.target
        async with self._locks[target.repository]:
            await copy_verified(self._crane, self._lookup, attachment.source, target)
            listed = await self._list("target", target, attachment.subject) if attachment.subject else frozenset()
        if attachment.subject and attachment.source.digest not in listed:
            # crane does not push what is there already, and so does not list it, either.
            detail = (
                f"{target} is there, but not listed as a referrer of {attachment.subject}; delete it there, and sync again"
            )
            raise RegistryError("target", ErrorKind.OTHER, detail, target.host)

    async def _missing_tags(self, image: Image, subject: str, tags: frozenset[str] | None) -> list[Attachment]:
        """Return cosign's tags for `subject` whose target is not equal. If no `tags` are listed, they are looked up."""
        found = []
        for tag in cosign_tags(subject):
            if tags is not None and tag not in tags:
                continue
            source, target = (Reference(one.host, one.path, tag) for one in (image.source, image.target))
            digest = await self._digest_if_any("source", source, is_listed=tags is not None)
            if digest and await self._digest_if_any("target", target) != digest:
                found.append(Attachment(source.at(digest), target))
        return found

    async def _digest_if_any(self, subject_name: str, reference: Reference, *, is_listed: bool = False) -> str | None:
        """Return the digest of a tag; None if it is not there, or may not be seen."""
        try:
            return await self._lookup.digest(subject_name, reference)
        except RegistryError as error:
            if is_listed or error.kind not in UNSEEN:
                raise
            return None

    async def _digest_tags(self, repository: Reference) -> frozenset[str] | None:
        """Return the tags of `repository` that are derived from digests, which are listed once; None if it has no list."""
        task = self._tags.get(repository)
        if task is None:
            task = self._tags[repository] = asyncio.ensure_future(self._list_digest_tags(repository))
        try:
            return await shared_result(task)
        except RegistryError:
            self._tags.pop(repository, None)  # the next attempt asks again
            raise

    async def _list_digest_tags(self, repository: Reference) -> frozenset[str] | None:
        try:
            return await self._crane.list_digest_tags(repository)
        except RegistryError as error:
            if error.kind in UNSEEN:  # an image may be pulled by digest all the same
                return None
            raise

    async def _list(
        self, subject_name: str, repository: Reference, digest: str, *, may_be_tagged: bool = True
    ) -> frozenset[str]:
        """Return the digests of what names `digest` as its subject, by the API and by the tag that stands in for it."""
        found: set[str] = set()
        path: str | None = f"referrers/{digest}"
        has_api = False
        for _ in range(MOST_PAGES):
            response = await self._client.get(subject_name, repository, path, self._seconds) if path else None
            if response is None:
                break
            has_api = True
            found |= _parse(subject_name, repository, response.body.decode(errors="replace"))
            path = _next_page(subject_name, repository, response.header("link"))
        if may_be_tagged and (subject_name == "source" or not has_api):
            tag = Reference(repository.host, repository.path, fallback_tag(digest))
            if await self._digest_if_any(subject_name, tag):
                found |= _parse(subject_name, repository, await self._crane.manifest(subject_name, tag))
        return frozenset(found)


def _parse(subject_name: str, repository: Reference, body: str) -> set[str]:
    """Return the digests in a list of referrers. Raises RegistryError if it is no list, which is not the same as none."""
    children = index_children(body)
    if children is None or not all(is_digest(child) for child, _ in children):
        detail = f"{repository.repository}: the registry's list of referrers is not an index of sha256 digests"
        raise RegistryError(subject_name, ErrorKind.OTHER, detail, repository.host)
    return {child for child, _ in children}


def _next_page(subject_name: str, repository: Reference, link: str | None) -> str | None:
    """Return the path of the next page below the repository; None if there is none. It must be at the same registry."""
    if not link:
        return None
    found = _LINK.match(link)
    if not found or not found[1].startswith(f"/v2/{repository.path}/referrers/"):
        detail = f"{repository.repository}: the list of referrers continues at an unknown place"
        raise RegistryError(subject_name, ErrorKind.OTHER, detail, repository.host)
    return found[1].removeprefix(f"/v2/{repository.path}/")


def cosign_tags(digest: str) -> tuple[str, ...]:
    """Return the tags under which cosign stores things about `digest`."""
    return tuple(f"{fallback_tag(digest)}.{suffix}" for suffix in COSIGN_SUFFIXES)


def fallback_tag(digest: str) -> str:
    """Return the tag of the index of what refers to `digest`, in a registry without the referrers API."""
    return DIGEST_TAG + digest.removeprefix("sha256:")
