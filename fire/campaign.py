"""What the parts of the campaign share: the seed, the length, and the table that each part returns."""

import io
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Campaign:
    """How to run: two campaigns with one `seed` and length try the same things. `folder` is the part's own, and empty."""

    seed: int
    short: bool
    folder: Path

    def random(self, name: str) -> random.Random:
        """Return a source of random numbers that depends on the seed and `name` only."""
        return random.Random(f"{self.seed}/{name}")

    def pick(self, *, long: int, short: int) -> int:
        """Return how often to do something: `long` times, or `short` times in the short form."""
        return short if self.short else long


@dataclass
class Table:
    """What a part found. `text` says how it was measured, `findings` hold one sentence for each promise that was broken."""

    title: str
    text: str
    header: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        """Add a row, and print it, because a part takes minutes."""
        self.rows.append([str(cell) for cell in cells])
        print("  " + " | ".join(self.rows[-1]), flush=True)

    def check(self, holds: object, finding: str) -> None:
        """Add `finding` unless the promise `holds`."""
        if not holds:
            self.findings.append(finding)
            print(f"  BROKEN: {finding}", flush=True)

    def to_json(self) -> dict[str, Any]:
        """Return the table as plain data."""
        return asdict(self)


@contextmanager
def quiet() -> Iterator[None]:
    """Print nothing: the helpers of the tests show the log of each process that they end."""
    with redirect_stdout(io.StringIO()):
        yield
