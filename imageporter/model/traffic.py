"""What a pass has asked of the registries."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counters of one pass: its look-ups of digests, and its back-offs.

    `pulls_left` is what a registry that limits pulls has said last, by host: Docker Hub's `ratelimit-remaining`.
    """

    lookups: int = 0
    backoffs: int = 0
    pulls_left: dict[str, int] = field(default_factory=dict)
