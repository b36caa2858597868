"""An image's way through a pass: the probe stage (wide), then the copy stage (narrow)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from imageporter import logs, rules
from imageporter.crane import Crane
from imageporter.crane_errors import CraneError, Kind
from imageporter.report import INTERRUPTED, Clock, Outcome, Word, image_done
from imageporter.rules import Image, Rule
from imageporter.settings import Settings
from imageporter.stop import InterruptedPassError, Stop

Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
T = TypeVar("T")

# A target that does not answer would not take a copy either: it is asked again first.
NO_ANSWER = frozenset({Kind.RATE_LIMITED, Kind.TIMED_OUT, Kind.UNREACHABLE})


@dataclass(frozen=True, slots=True)
class Difference:
    """An image whose target is not what its source is now: `digest`."""

    image: Image
    digest: str


@dataclass(frozen=True)
class Stages:
    """The two stages, with the crane and the settings that they work with."""

    crane: Crane
    settings: Settings
    stop: Stop

    def run(self, wanted: Sequence[Rule]) -> list[Outcome]:
        """Make every target of the rules equal to its source. Gives an outcome for each image, in the rules' order.

        A rule that cannot be expanded is one failed outcome.
        """
        with _mapper(self.settings.probes) as wide:
            probed = list(wide(self.probe, self._expand(wanted, wide)))
        with _mapper(self.settings.jobs) as narrow:
            return list(narrow(self.copy, probed))

    def _expand(self, wanted: Sequence[Rule], wide: Mapper) -> list[Image | Outcome]:
        """The images of the rules; each repository is listed once, however many rules ask."""
        first = {rule.source.repository: rule for rule in reversed(wanted) if rule.open}
        listed = dict(zip(first, wide(self._tags, first.values()), strict=True))
        expanded: list[Image | Outcome] = []

        def tags(rule: Rule) -> tuple[str, ...] | None:
            known: tuple[str, ...] | Outcome = listed[rule.source.repository]
            if not isinstance(known, Outcome):
                return known
            expanded.append(replace(known, image=rule.whole))
            return None

        def refuse(image: Image, reason: str) -> None:
            expanded.append(Outcome(image, Word.FAILED, error=reason))

        try:
            with self.stop.breaking():
                for image in rules.expand(wanted, tags, refuse):
                    expanded.append(image)  # noqa: PERF402 (the other two append as well)
        except InterruptedPassError:
            return [Outcome(rule.whole, Word.FAILED, error=INTERRUPTED) for rule in wanted]
        for outcome in expanded:
            if isinstance(outcome, Outcome) and outcome.error != INTERRUPTED:
                image_done(outcome)
        return expanded

    def _tags(self, rule: Rule) -> tuple[str, ...] | Outcome:
        return self._settle(rule.whole, lambda: self.crane.tags(rule.source.repository), quietly=True)

    def probe(self, image: Image | Outcome) -> Outcome | Difference:
        """Compare the digests of source and target."""
        if isinstance(image, Outcome):
            return image

        def compare() -> Outcome | Difference:
            digest = self.crane.digest("source", image.source)
            if digest == self._digest_of_target(image):
                return Outcome(image, Word.SKIPPED, digest)
            return Outcome(image, Word.WOULD_COPY, digest) if self.settings.dry_run else Difference(image, digest)

        return self._settle(image, compare)

    def copy(self, probed: Outcome | Difference) -> Outcome:
        """Copy what differs, and ask the target afterwards: `copied` is a verified word."""
        if isinstance(probed, Outcome):
            return probed
        image, digest = probed.image, probed.digest

        def copy_and_verify() -> Outcome:
            # By digest: a tag that moves in between cannot mix two images.
            self.crane.copy(image.source.at(digest), image.target)
            if (arrived := self.crane.digest("target", image.target)) != digest:
                raise CraneError("target", Kind.OTHER, f"has {arrived} after the copy of {digest}")
            return Outcome(image, Word.COPIED, digest)

        outcome = self._settle(image, copy_and_verify)
        if outcome.word is Word.COPIED:
            with suppress(InterruptedPassError):
                self.stop.wait(self.settings.sleep_time)
        return outcome

    def _digest_of_target(self, image: Image) -> str | None:
        """What the target is now; None where it does not say, and the copy will tell the truth.

        Registries answer not found, unauthorised or denied for a repository that does not exist yet.
        """
        try:
            return self.crane.digest("target", image.target)
        except CraneError as error:
            if error.kind in NO_ANSWER:
                raise
            return None

    def _settle(self, image: Image, work: Callable[[], T], *, quietly: bool = False) -> T | Outcome:
        """Do `work` until it succeeds, cannot get better, or has had all its attempts.

        Logs how the image ended, unless `quietly`.
        """
        clock = Clock()
        attempt = 0
        result: T | Outcome | None = None
        while result is None:
            try:
                self.stop.check()
                attempt += 1
                result = work()
            except CraneError as error:
                if error.permanent or attempt > self.settings.retries:
                    result = Outcome(image, Word.FAILED, error=str(error))
                else:
                    self._wait_for_retry(image, error, attempt)
            except InterruptedPassError:
                result = Outcome(image, Word.FAILED, error=INTERRUPTED)
            except Exception as error:  # one image's failure never stops another's, even where it is ours
                logs.bug(error)
                result = Outcome(image, Word.FAILED, error=f"unexpected {type(error).__name__}")
        if isinstance(result, Outcome):
            result = replace(result, attempts=attempt, seconds=clock.seconds)
            if attempt and not quietly:
                image_done(result)
        return result

    def _wait_for_retry(self, image: Image, error: CraneError, attempt: int) -> None:
        logs.event(
            "image.retry",
            f"trying again in {self.settings.retry_delay_time:g} s: {image.source} -> {image.target}: {error}",
            "WARNING",
            source=str(image.source),
            target=str(image.target),
            attempt=attempt,
            error=str(error),
        )
        with suppress(InterruptedPassError):  # the next check raises it
            self.stop.wait(self.settings.retry_delay_time)


@contextmanager
def _mapper(width: int) -> Iterator[Mapper]:
    """A `map` over `width` threads; with one it is the plain `map`."""
    if width == 1:
        yield map
        return
    with ThreadPoolExecutor(width) as pool:
        yield pool.map
