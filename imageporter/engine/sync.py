"""An image's way through a pass: the probe stage (wide), then the copy stage (narrow)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from imageporter.model import rule
from imageporter.registry.crane import Crane
from imageporter.registry.errors import CraneError, Kind
from imageporter.floor import Floor
from imageporter.line import Job
from imageporter.engine.progress import Progress
from imageporter.store.records import Records
from imageporter.model.reference import Reference
from imageporter.engine.summary import INTERRUPTED, Outcome, Word, image_done
from imageporter.model.rule import Image, Rule
from imageporter.config.settings import Settings
from imageporter.system.signals import InterruptedPassError, Stop

# A target that does not answer would not take a copy either: it is asked again first.
NO_ANSWER = frozenset({Kind.RATE_LIMITED, Kind.TIMED_OUT, Kind.UNREACHABLE})


@dataclass(frozen=True, slots=True)
class Place:
    """An image, and its index among the outcomes."""

    index: int
    image: Image


class Stages:
    """The two stages, with the crane, the settings and the records that they work with; `tell` is told each outcome."""

    def __init__(
        self, crane: Crane, settings: Settings, stop: Stop, records: Records, tell: Callable[[Outcome], None]
    ) -> None:
        self._crane = crane
        self._settings = settings
        self._stop = stop
        self._records = records
        self._tell = tell
        self._floor = Floor(settings, stop)
        self._outcomes: list[Outcome] = []
        self._progress = Progress(0)

    def run(self, wanted: Sequence[Rule]) -> list[Outcome]:
        """Make every target of the rules equal to its source. Gives an outcome for each image, in the rules' order.

        A rule that cannot be expanded is one failed outcome.
        """
        with self._floor.working():
            expanded = self._expand(wanted)
            self._progress = Progress(len(expanded))
            self._outcomes = [self._known(one) for one in expanded]
            with self._progress.shown():
                self._floor.run(self._questions(expanded))
        return self._outcomes

    def _expand(self, wanted: Sequence[Rule]) -> list[Image | Outcome]:
        """The images of the rules; each repository is listed once, however many rules ask."""
        first = {rule.source.repository: rule for rule in reversed(wanted) if rule.open}
        listed: dict[Reference, tuple[str, ...] | Outcome] = {}
        self._floor.run(self._lists(reversed(first.values()), listed))
        expanded: list[Image | Outcome] = []

        def tags(rule: Rule) -> tuple[str, ...] | None:
            known = listed[rule.source.repository]
            if not isinstance(known, Outcome):
                return known
            expanded.append(replace(known, image=rule.whole))
            return None

        def refuse(image: Image, reason: str) -> None:
            expanded.append(Outcome(image, Word.FAILED, error=reason))

        try:
            with self._stop.breaking():
                for image in rules.expand(wanted, tags, refuse):
                    expanded.append(image)  # noqa: PERF402 (the other two append as well)
        except InterruptedPassError:
            return [Outcome(rule.whole, Word.FAILED, error=INTERRUPTED) for rule in wanted]
        for outcome in expanded:
            if isinstance(outcome, Outcome) and outcome.error != INTERRUPTED:
                self._done(outcome)
        return expanded

    def _lists(self, wanted: Iterable[Rule], listed: dict[Reference, tuple[str, ...] | Outcome]) -> Iterator[Job]:
        """Jobs that put the tags of each rule's source repository into `listed`, or how they failed."""
        for index, rule in enumerate(wanted):
            repository = rule.source.repository

            def ask(_: Job, repository: Reference = repository) -> None:
                listed[repository] = self._crane.tags(repository)

            def fail(job: Job, reason: str, repository: Reference = repository) -> None:
                listed[repository] = _outcome(job, job.images[0], Word.FAILED, error=reason)

            yield Job(index, frozenset({repository.host}), (rule.whole,), ask, fail)

    def _questions(self, expanded: Sequence[Image | Outcome]) -> Iterator[Job]:
        """A job for each source: it is asked once, however many targets it has, and not at all where it is a digest."""
        places: dict[Reference, list[Place]] = {}
        for index, image in enumerate(expanded):
            if isinstance(image, Image):
                places.setdefault(image.source, []).append(Place(index, image))
        for source, wanted in places.items():
            hosts = frozenset() if source.digest else frozenset({source.host})
            yield self._job(wanted, hosts, self._asking(source, wanted))

    def _job(self, places: Sequence[Place], hosts: frozenset[str], work: Callable[[Job], None]) -> Job:
        def fail(job: Job, reason: str) -> None:
            for place in places:
                self._settle(place, _outcome(job, place.image, Word.FAILED, error=reason))

        return Job(places[0].index, hosts, tuple(place.image for place in places), work, fail)

    def _asking(self, source: Reference, places: Sequence[Place]) -> Callable[[Job], None]:
        """Ask the source for its digest, then each of its targets."""

        def ask(job: Job) -> None:
            digest = source.digest or self._crane.digest("source", source)
            for place in places:
                if self._records.believed(place.image, digest, self._settings.trust_records):
                    self._settle(place, _outcome(job, place.image, Word.SKIPPED, digest))
                else:
                    hosts = frozenset({place.image.target.host})
                    self._floor.put(self._floor.probing, self._job([place], hosts, self._comparing(place, digest, job)))

        return ask

    def _comparing(self, place: Place, digest: str, asked: Job) -> Callable[[Job], None]:
        """Compare the digest of the target with that of the source, which the job `asked` got."""

        def compare(job: Job) -> None:
            job.clock = asked.clock
            if digest == self._digest_of_target(place.image):
                self._records.verified(place.image, digest)
                self._settle(place, _outcome(job, place.image, Word.SKIPPED, digest))
            elif self._settings.dry_run:
                self._settle(place, _outcome(job, place.image, Word.WOULD_COPY, digest))
            else:
                hosts = frozenset({place.image.source.host, place.image.target.host})
                self._floor.put(self._floor.copying, self._job([place], hosts, self._copying(place, digest)))

        return compare

    def _copying(self, place: Place, digest: str) -> Callable[[Job], None]:
        """Copy what differs, and ask the target afterwards: `copied` is a verified word."""
        image = place.image

        def copy(job: Job) -> None:
            with self._progress.copying(image):
                self._records.forget(image)
                # By digest: a tag that moves in between cannot mix two images.
                self._crane.copy(image.source.at(digest), image.target)
                if (arrived := self._crane.digest("target", image.target)) != digest:
                    raise CraneError("target", Kind.OTHER, f"has {arrived} after the copy of {digest}")
            self._records.verified(image, digest)
            self._settle(place, _outcome(job, image, Word.COPIED, digest))
            with suppress(InterruptedPassError):
                self._stop.wait(self._settings.sleep_time)

        return copy

    def _digest_of_target(self, image: Image) -> str | None:
        """What the target is now; None where it does not say, and the copy will tell the truth.

        Registries answer not found, unauthorised or denied for a repository that does not exist yet.
        """
        try:
            return self._crane.digest("target", image.target)
        except CraneError as error:
            if error.kind in NO_ANSWER:
                raise
            return None

    def _known(self, expanded: Image | Outcome) -> Outcome:
        """The outcome of an image so far."""
        if isinstance(expanded, Image):
            return Outcome(expanded, Word.FAILED, error=INTERRUPTED)
        self._progress.ended(expanded)
        return expanded

    def _settle(self, place: Place, outcome: Outcome) -> None:
        self._outcomes[place.index] = outcome
        self._progress.ended(outcome)
        if outcome.attempts or outcome.error != INTERRUPTED:
            self._done(outcome)

    def _done(self, outcome: Outcome) -> None:
        self._tell(outcome)
        image_done(outcome)


def _outcome(job: Job, image: Image, word: Word, digest: str | None = None, error: str | None = None) -> Outcome:
    return Outcome(image, word, digest, error, job.attempts, job.clock.seconds)
