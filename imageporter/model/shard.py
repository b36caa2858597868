"""A share of the images, for passes that share the work: shard 2 of 8."""

import hashlib
import re
from dataclasses import dataclass

from imageporter.model.reference import Reference

MOST = 10_000
_SHARD = re.compile("([0-9]{1,5})/([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Shard:
    """The shard `number`, from 1, of `count`."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def directory(self) -> str:
        """The name of its directory below DATA_DIR."""
        return f"shard-{self.number}-of-{self.count}"

    def has(self, target: Reference) -> bool:
        """Return whether the repository of `target` belongs to this shard.

        Only the name decides: the same repository always belongs to one shard, whatever else there is to sync.
        """
        digest = hashlib.sha256(target.repository.encode()).digest()
        return int.from_bytes(digest[:8]) % self.count == self.number - 1


def parse(text: str) -> Shard | None:
    """Return the shard in `2/8`; None if it is none."""
    found = _SHARD.fullmatch(text.strip())
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= MOST:
        return None
    return Shard(int(found[1]), int(found[2]))
