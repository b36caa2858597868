"""The progress of a long pass: a live line on a terminal, otherwise a log line every 30 seconds."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from imageporter.model.image import Image
from imageporter.model.outcome import Outcome, Status
from imageporter.system import logs

TERMINAL_SECONDS = 0.2
LOG_SECONDS = 30


class Progress:
    """What has happened to the `total` images so far."""

    def __init__(self) -> None:
        self.total = 0
        self._counts: Counter[Status] = Counter()
        self._copying: list[Image] = []

    def count(self, outcome: Outcome) -> None:
        """Count an image that has ended."""
        self._counts[outcome.status] += 1

    @contextmanager
    def copying(self, image: Image) -> Iterator[None]:
        """The context in which `image` is copied."""
        self._copying.append(image)
        try:
            yield
        finally:
            self._copying.remove(image)

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """A context in which the progress is shown."""
        task = asyncio.create_task(self._show())
        try:
            yield
        finally:
            task.cancel()
            logs.show_live_line("")

    async def _show(self) -> None:
        show, seconds = (self._live_line, TERMINAL_SECONDS) if logs.has_live_line() else (self._log, LOG_SECONDS)
        while True:
            await asyncio.sleep(seconds)
            show()

    def _live_line(self) -> None:
        copying = "".join(f" | {image}" for image in self._copying)
        logs.show_live_line(f"{self._counts.total()}/{self.total} done{self._copied_and_failed}{copying}")

    def _log(self) -> None:
        done = self._counts.total()
        message = f"{done} of {self.total} images done{self._copied_and_failed}, {len(self._copying)} being copied"
        logs.log_event(
            "pass.progress",
            message,
            images=self.total,
            done=done,
            copied=self._counts[Status.COPIED],
            failed=self._counts[Status.FAILED],
            copying=len(self._copying),
        )

    @property
    def _copied_and_failed(self) -> str:
        return f", {self._counts[Status.COPIED]} copied, {self._counts[Status.FAILED]} failed"
