"""The digests of the sources: each is looked up once, however many targets it has."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

from imageporter.engine.backoff import Operation
from imageporter.engine.retry import Attempts, FailedError, IndexedImage, Step
from imageporter.engine.slots import Hosts, Slots
from imageporter.model.reference import Reference
from imageporter.system.tasks import shared_result


class SourceDigests:
    """Looks up the digests of sources with `look_up`, in attempts with a slot."""

    def __init__(self, attempts: Attempts, slots: Slots, look_up: Callable[[str, Reference, Hosts], Awaitable[str]]) -> None:
        self._attempts = attempts
        self._slots = slots
        self._look_up = look_up
        self._sharing: dict[Reference, list[IndexedImage]] = defaultdict(list)  # the images of a source that has several
        self._shared: dict[Reference, asyncio.Future[str]] = {}

    def share(self, image: IndexedImage) -> None:
        """Note that other images have the source of `image` as well."""
        self._sharing[image.image.source].append(image)

    async def of(self, image: IndexedImage) -> str:
        """Return the digest of the source of `image`. Raises FailedError."""
        source = image.image.source
        step = Step(Operation.LOOKUP, frozenset({source.host}), self._slots)
        sharing: Sequence[IndexedImage] = self._sharing.get(source, ())
        shared = self._shared.get(source)
        if shared is not None:
            try:
                return await shared_result(shared)
            finally:
                image.attempts = sharing[0].attempts
        shared = asyncio.get_running_loop().create_future()
        if sharing:
            self._shared[source] = shared
        try:
            digest = await self._attempts.run(
                image, step, lambda: self._look_up("source", source, step.hosts), sharing=sharing
            )
        except asyncio.CancelledError:
            shared.cancel()
            raise
        except Exception as error:
            known = error if isinstance(error, FailedError) else FailedError(f"unexpected {type(error).__name__}")
            shared.set_exception(known)
            shared.exception()  # retrieved, even if no other image waits for it
            raise
        shared.set_result(digest)
        return digest
