"""Looking up digests: with the client, and with crane whenever a response was ambiguous."""

import time
from typing import TYPE_CHECKING

from imageporter.model.reference import Reference
from imageporter.registry.crane import Crane
from imageporter.registry.errors import ErrorKind, RegistryError

if TYPE_CHECKING:
    from imageporter.registry.client import Client  # which needs libcurl


class DigestLookup:
    """The two ways to look up a digest. Without a `client` (FAST_LOOKUPS=false) crane does all of it.

    `count` is how many look-ups were made.
    """

    def __init__(self, client: "Client | None", crane: Crane, probe_timeout: float) -> None:
        self._client = client
        self._crane = crane
        self._probe_timeout = probe_timeout
        self.count = 0

    @property
    def pulls_left(self) -> dict[str, int]:
        """How many pulls each registry that limits them still grants, as far as its responses said."""
        return self._client.pulls_left if self._client is not None else {}

    async def digest(self, subject: str, image: Reference, *, by_crane: bool = False) -> str:
        """Return the digest of `image`, which an error calls `subject` (`source` or `target`).

        With `by_crane`, crane looks it up in any case, for the sake of its error text. Both ways together may take
        `probe_timeout` seconds. Raises RegistryError.
        """
        self.count += 1
        deadline = time.monotonic() + self._probe_timeout
        if self._client is not None and not by_crane:
            digest = await self._client.digest(subject, image, self._probe_timeout)
            if digest is not None:
                return digest
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            detail = f"no end after {self._probe_timeout:g} seconds (PROBE_TIMEOUT)"
            raise RegistryError(subject, ErrorKind.TIMED_OUT, detail, image.host)
        return await self._crane.digest(subject, image, seconds)
