"""One pass: make every target of some rules equal to its source.

One coroutine per image: look up the source, look up the target, compare, copy, verify, record.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from imageporter.config.settings import Settings
from imageporter.engine import expansion
from imageporter.engine.backoff import Backoffs, Operation
from imageporter.engine.content import Content, Contents
from imageporter.engine.progress import Progress
from imageporter.engine.referrers import Referrers
from imageporter.engine.retry import Attempts, FailedError, IndexedImage, Step
from imageporter.engine.slots import Demand, Hosts, Slots
from imageporter.engine.source_digests import SourceDigests
from imageporter.engine.summary import log_image_done
from imageporter.engine.windows import Work, run_at_once
from imageporter.model.image import Image
from imageporter.model.outcome import Outcome, Status
from imageporter.model.reference import Reference
from imageporter.model.rule import Rule
from imageporter.model.traffic import Traffic
from imageporter.registry.cosign import Cosign
from imageporter.registry.crane import Crane
from imageporter.registry.errors import REFUSED, RegistryError
from imageporter.registry.lookup import DigestLookup
from imageporter.store.records import Records
from imageporter.system import logs
from imageporter.system.signals import Shutdown


@dataclass(frozen=True)
class Registries:
    """How a pass talks to registries. `referrers` and `cosign` are only needed if a rule asks for them."""

    lookup: DigestLookup
    crane: Crane
    referrers: Referrers | None = None
    cosign: Cosign | None = None


class SyncPass:
    """One pass. `on_outcome` is called with each outcome."""

    def __init__(
        self,
        registries: Registries,
        records: Records,
        settings: Settings,
        shutdown: Shutdown,
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        self._lookup = registries.lookup
        self._crane = registries.crane
        self._referrers = registries.referrers
        self._contents = Contents(registries.crane, registries.lookup, registries.cosign)
        self._records = records
        self._settings = settings
        self._shutdown = shutdown
        self._on_outcome = on_outcome
        self._backoffs = Backoffs(settings.retry_delay_time, settings.retries)
        self._attempts = Attempts(self._backoffs, settings.retries, settings.retry_delay_time)
        self._lookup_demand, self._copy_demand = Demand(self._backoffs.is_resting), Demand(self._backoffs.is_resting)
        self._lookup_slots = Slots(settings.probes, self._lookup_demand)
        self._copy_slots = Slots(settings.jobs, self._copy_demand)
        self._progress = Progress()
        self._outcomes: list[Outcome] = []
        self._source_digests = SourceDigests(self._attempts, self._lookup_slots, self._look_up)

    @property
    def traffic(self) -> Traffic:
        """What the pass has asked of the registries so far."""
        return Traffic(self._lookup.count, self._backoffs.rests, self._lookup.pulls_left)

    async def run(self, rules: Sequence[Rule]) -> list[Outcome]:
        """Return the outcome of every image of `rules`, in their order. A rule that cannot be expanded is one failed outcome.

        A shutdown ends it early: the outcomes of the images that were not finished are `interrupted`.
        """
        self._outcomes = [Outcome(rule.as_image, Status.INTERRUPTED) for rule in rules]
        with self._cancelled_on_shutdown():
            await self._crane.login()
            images = await self._expand(rules)
            async with self._progress.shown():
                await self._run_all(self._sync, images)
        return self._outcomes

    async def explain(self, rules: Sequence[Rule], image: str) -> list[str]:
        """Return lines that say which tags `rules` take, or why they drop `image`, if that is not empty. Copies nothing."""
        lines: list[str] = []
        with self._cancelled_on_shutdown():
            await self._crane.login()
            lines += expansion.explain(rules, await self._list(rules), image)
        return lines

    @contextmanager
    def _cancelled_on_shutdown(self) -> Iterator[None]:
        """A context that a shutdown leaves early: it cancels everything in it, and waits for crane's end."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 (for mypy)

        def cancel() -> None:
            with suppress(RuntimeError):  # the loop has just been closed
                loop.call_soon_threadsafe(task.cancel)

        with self._shutdown.calling(cancel):
            try:
                yield
            except asyncio.CancelledError:
                task.uncancel()

    async def _run_all(self, work: Work, images: Sequence[IndexedImage]) -> None:
        """Do `work` for all images at once; one after the other, in the files' order, with PROBES=1 and JOBS=1."""
        if self._settings.probes == self._settings.jobs == 1:
            for image in images:
                await work(image)
        else:
            await run_at_once(work, images)

    async def _list(self, rules: Sequence[Rule]) -> expansion.Listed:
        """Return the tags that `rules` need, by repository."""
        listed: dict[Reference, tuple[str, ...] | Outcome] = {}

        async def list_tags(repository: IndexedImage) -> None:
            tags = await expansion.list_tags(repository, self._crane, self._attempts, self._lookup_slots)
            listed[repository.image.source] = tags

        await self._run_all(list_tags, expansion.repositories_to_list(rules))
        return listed

    async def _expand(self, rules: Sequence[Rule]) -> list[IndexedImage]:
        """Return the images of `rules`. Rules and images that have already failed are reported."""
        expanded = expansion.expand_rules(rules, await self._list(rules))
        self._outcomes = [one if isinstance(one, Outcome) else Outcome(one, Status.INTERRUPTED) for one in expanded]
        self._progress.total = len(expanded)
        images_of = Counter(one.source for one in expanded if isinstance(one, Image))
        known_hosts: dict[Hosts, Hosts] = {}  # one object for all images of the same registries
        images = []
        for index, one in enumerate(expanded):
            if isinstance(one, Outcome):
                self._report(one)
                continue
            hosts = frozenset({one.source.host, one.target.host})
            indexed = IndexedImage(one, index, known_hosts.setdefault(hosts, hosts))
            images.append(indexed)
            if images_of[one.source] > 1:
                self._source_digests.share(indexed)
            self._lookup_demand.add(indexed, indexed.hosts)
            self._copy_demand.add(indexed, indexed.copy_hosts)
        return images

    # One image, from top to bottom

    async def _sync(self, image: IndexedImage) -> None:
        """Make the target of `image` equal to its source."""
        try:
            await self._make_equal(image)
        except FailedError as error:
            self._settle(image, error.outcome(image))
        except asyncio.CancelledError:
            self._settle(image, image.outcome(Status.INTERRUPTED))
            raise
        except Exception as error:  # one image never stops another, even if the bug is ours
            logs.log_bug(error)
            self._settle(image, FailedError(f"unexpected {type(error).__name__}").outcome(image))

    async def _make_equal(self, image: IndexedImage) -> None:
        """Look up, compare, copy, verify, record. Raises FailedError."""
        source, target = image.image.source, image.image.target
        digest = source.digest or await self._source_digests.of(image)
        if self._records.is_fresh(image.image, digest, self._settings.trust_records):
            self._settle(image, image.outcome(Status.SKIPPED, digest))
            return
        step = Step(Operation.LOOKUP, frozenset({target.host}), self._lookup_slots, restarts_clock=False)
        found = await self._attempts.run(image, step, lambda: self._target_digest(target))
        content = await self._content(image, digest, found)
        if found == content.digest:
            await self._copy_referrers(image, content, Status.SKIPPED, content.digest)
            return
        if self._settings.dry_run:
            self._settle(image, _would_copy(image, content.digest or digest, found))
            return
        self._lookup_demand.discard(image)
        self._lookup_slots.grant()
        step = Step(Operation.COPY, image.copy_hosts, self._copy_slots, image.pair)
        await self._attempts.run(image, step, lambda: self._copy(image, content), lambda: self._finish_copy(image))
        if image.image.referrers and image.copied:
            await self._copy_referrers(image, content, Status.COPIED, image.copied)

    async def _copy_referrers(self, image: IndexedImage, content: Content, status: Status, digest: str) -> None:
        """Copy what refers to an image whose target is `digest`, and settle the image with `status`, or `copied`."""
        if image.image.referrers and self._referrers is not None:
            # The index that crane has made of some platforms is not at the source.
            is_made = content.children is not None and digest != content.source
            digests = content.children if is_made and content.children else (digest,)
            missing = await self._referrers.missing(image, digests, self._attempts, self._lookup_slots)
            if missing and self._settings.dry_run:
                self._settle(image, image.outcome(Status.WOULD_COPY, digest))
                return
            await self._referrers.copy(image, missing, self._attempts, self._copy_slots)
            status = Status.COPIED if missing else status
        self._record(image.image, content, digest, status)
        self._settle(image, image.outcome(status, digest))

    async def _content(self, image: IndexedImage, digest: str, found: str | RegistryError) -> Content:
        """Return what the target shall be if the source is `digest`. The target is `found` now."""
        source, target = image.image.source, image.image.target
        if image.image.platforms is None:
            return Content(digest, digest)
        if not image.image.referrers and found == self._records.made_digest(image.image, digest):
            return Content(digest, found)
        step = Step(Operation.LOOKUP, frozenset({source.host}), self._lookup_slots, restarts_clock=False)
        content = await self._attempts.run(image, step, lambda: self._contents.select(image.image, digest))
        children = content.children
        if content.digest is None and children is not None and isinstance(found, str):
            step = Step(Operation.LOOKUP, frozenset({target.host}), self._lookup_slots, restarts_clock=False)
            if await self._attempts.run(image, step, lambda: self._contents.is_index_of(target.at(found), children)):
                return Content(digest, found, children)
        return content

    async def _target_digest(self, target: Reference) -> str | RegistryError:
        """Return the digest of the target; the error if the registry does not say, because the copy will settle it.

        Registries return 401, 403 or 404 for a repository that does not exist yet. A registry that does not respond would not
        accept a copy either, so its error is raised.
        """
        try:
            return await self._look_up("target", target, frozenset({target.host}))
        except RegistryError as error:
            if error.concerns_registry:
                raise
            return error

    async def _look_up(self, subject: str, reference: Reference, hosts: Hosts) -> str:
        # A registry that is about to be given up is described in crane's words.
        return await self._lookup.digest(subject, reference, by_crane=self._backoffs.is_last_probe(hosts))

    async def _copy(self, image: IndexedImage, content: Content) -> None:
        """Copy the image, and verify the target: `copied` is only reported after this check."""
        self._copy_demand.discard(image)
        try:
            with self._progress.copying(image.image):
                self._records.invalidate(image.image)
                image.copied = await self._contents.copy(image.image, content)
        except BaseException:
            self._copy_demand.add(image, image.copy_hosts)
            raise
        if not image.image.referrers:
            self._record(image.image, content, image.copied, Status.COPIED)

    def _record(self, image: Image, content: Content, digest: str, status: Status) -> None:
        """Record that the target of `image` is `digest`, what it was made from, and whether that was now."""
        self._records.record_verified(image, content.source, copied=status is Status.COPIED)
        if image.platforms is not None:
            self._records.record_made(image, content.source, digest)

    async def _finish_copy(self, image: IndexedImage) -> None:
        """Report the copy, and keep its slot for SLEEP_TIME, or until no other image may need a copy."""
        if not image.image.referrers:
            self._settle(image, image.outcome(Status.COPIED, image.copied))
        await self._copy_demand.wait_until_empty(self._settings.sleep_time)

    # Outcomes

    def _settle(self, image: IndexedImage, outcome: Outcome) -> None:
        """Set and report the outcome of `image`, unless it has one already."""
        if self._outcomes[image.index].status is not Status.INTERRUPTED:
            return
        for demand in (self._lookup_demand, self._copy_demand):
            demand.discard(image)
        self._lookup_slots.grant()
        self._copy_slots.grant()
        self._outcomes[image.index] = outcome
        if outcome.status is not Status.INTERRUPTED or image.attempts:
            self._report(outcome)

    def _report(self, outcome: Outcome) -> None:
        self._progress.count(outcome)
        self._on_outcome(outcome)
        log_image_done(outcome)


def _would_copy(image: IndexedImage, digest: str, found: str | RegistryError) -> Outcome:
    """Return the outcome of a dry run for an image whose target is `found`, and not `digest`."""
    outcome = image.outcome(Status.WOULD_COPY, digest)
    if isinstance(found, RegistryError) and found.kind in REFUSED:
        return replace(outcome, warning=str(found), host=found.host, reason=found.reason)
    return outcome
