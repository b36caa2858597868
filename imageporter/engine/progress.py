"""How far a long pass is: a live line on a terminal, else a line of the log now and then."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from imageporter.system import logs
from imageporter.engine.summary import Outcome, Word
from imageporter.model.rule import Image

TERMINAL_SECONDS = 0.2
LOG_SECONDS = 30


class Progress:
    """What has happened to the `total` images so far."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._lock = threading.Lock()
        self._counts: Counter[Word] = Counter()
        self._copying: list[Image] = []

    def ended(self, outcome: Outcome) -> None:
        """Count an image."""
        with self._lock:
            self._counts[outcome.word] += 1

    @contextmanager
    def copying(self, image: Image) -> Iterator[None]:
        """The context in which `image` is copied."""
        with self._lock:
            self._copying.append(image)
        try:
            yield
        finally:
            with self._lock:
                self._copying.remove(image)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """A context in which the progress is shown."""
        over = threading.Event()
        show, seconds = (self._live, TERMINAL_SECONDS) if logs.has_live_line() else (self._line, LOG_SECONDS)

        def again() -> None:
            while not over.wait(seconds):
                show()

        thread = threading.Thread(target=again, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            logs.live("")

    def _live(self) -> None:
        done, words, copying = self._now()
        logs.live(f"{done}/{self._total} done{words}" + "".join(f" | {image.source} -> {image.target}" for image in copying))

    def _line(self) -> None:
        done, words, copying = self._now()
        what = f"{done} of {self._total} images done{words}, {len(copying)} being copied"
        copied, failed = self._counts[Word.COPIED], self._counts[Word.FAILED]
        logs.event("pass.progress", what, images=self._total, done=done, copied=copied, failed=failed, copying=len(copying))

    def _now(self) -> tuple[int, str, list[Image]]:
        with self._lock:
            words = f", {self._counts[Word.COPIED]} copied, {self._counts[Word.FAILED]} failed"
            return self._counts.total(), words, list(self._copying)
