"""Retry: the attempts of one image at one step, with the back-off of its registries and a slot for each attempt."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from imageporter.engine.backoff import Backoffs, Operation, UnavailableError, pair_of
from imageporter.engine.slots import Hosts, Slots
from imageporter.engine.summary import log_image_retry
from imageporter.model.image import Image
from imageporter.model.outcome import Outcome, Status
from imageporter.registry.errors import ErrorKind, RegistryError

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class IndexedImage:
    """An image of the pass: its index among the outcomes, the registries it needs, its attempts at the current step."""

    image: Image
    index: int
    hosts: Hosts
    attempts: int = 0
    started: float = 0.0  # monotonic, of the first attempt
    copied: str | None = None  # the digest at the target after its copy

    @property
    def pair(self) -> str:
        """The pair of its registries, which has a back-off of its own."""
        return pair_of(self.image.source.host, self.image.target.host)

    @property
    def copy_hosts(self) -> Hosts:
        """What a copy needs: both registries, and the pair."""
        return self.hosts | {self.pair}

    @property
    def seconds(self) -> float:
        """Seconds since its first attempt."""
        return time.monotonic() - self.started if self.started else 0.0

    def outcome(self, status: Status, digest: str | None = None) -> Outcome:
        """Return the outcome of this image if it ends now."""
        return Outcome(self.image, status, digest, attempts=self.attempts, seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class Step:
    """What an attempt does: the operation, the registries it sends requests to, and the slots it needs.

    `pair` is at fault if a copy does not say which of its registries is (it is one of `hosts`, too); None for a look-up.
    An image's seconds count from its first attempt at a look-up of the source, or at a copy (`restarts_clock`).
    """

    operation: Operation
    hosts: Hosts
    slots: Slots
    pair: str | None = None
    restarts_clock: bool = True


class FailedError(Exception):
    """An image has failed for good; the text is the error. `host` and `reason` are those of an Outcome."""

    def __init__(self, text: str, host: str | None = None, reason: str | None = None) -> None:
        self.host = host
        self.reason = reason
        super().__init__(text)

    def outcome(self, image: IndexedImage) -> Outcome:
        """Return the outcome of `image`."""
        return replace(image.outcome(Status.FAILED), error=str(self), host=self.host, reason=self.reason)


class Attempts:
    """Runs attempts: one and `retries` more for each step, `retry_delay_time` seconds apart."""

    def __init__(self, backoffs: Backoffs, retries: int, retry_delay_time: float) -> None:
        self._backoffs = backoffs
        self._retries = retries
        self._retry_delay_time = retry_delay_time

    async def run(
        self,
        image: IndexedImage,
        step: Step,
        work: Callable[[], Awaitable[T]],
        finish: Callable[[], Awaitable[None]] | None = None,
        sharing: Sequence[IndexedImage] = (),
    ) -> T:
        """Return the result of `work`, which is attempted until it succeeds, cannot succeed, or has no attempts left.

        `finish` follows a success, in the same slot. A retry is logged for every image in `sharing`. Raises FailedError.
        """
        image.attempts = failures = 0
        while True:
            try:
                await self._backoffs.wait(step.hosts, image)
                async with step.slots.hold(step.hosts, image.index, is_retry=failures > 0):
                    if not self._backoffs.begin(step.hosts, image):  # a rest began while it waited for the slot
                        continue
                    image.attempts += 1
                    if image.attempts == 1 and step.restarts_clock:
                        image.started = time.monotonic()
                    result = await work()
                    for host in step.hosts:
                        self._backoffs.of(host).record_success(step.operation, image)
                    if finish is not None:
                        self._backoffs.release(step.hosts, image)
                        await finish()
                    return result
            except UnavailableError as error:
                raise FailedError(str(error), error.host, f"given up: {error}") from None
            except RegistryError as error:
                failures += error.kind is not ErrorKind.RATE_LIMITED
                delay = self._delay_after(error, image, step, failures, sharing or (image,))
            finally:
                self._backoffs.release(step.hosts, image)
            await asyncio.sleep(delay)

    def _delay_after(
        self, error: RegistryError, image: IndexedImage, step: Step, failures: int, affected: Sequence[IndexedImage]
    ) -> float:
        """Return the seconds before the next attempt. Raises FailedError if there is none."""
        at_fault = step.hosts & {error.host} or step.hosts & {step.pair} or step.hosts
        is_unavailable = error.is_outage or error.kind is ErrorKind.RATE_LIMITED
        for backoff in map(self._backoffs.of, at_fault):
            if is_unavailable:
                backoff.record_failure(error, step.operation, image)
            elif error.host is not None:
                backoff.record_success(step.operation, image)  # it has responded
            if backoff.give_up_reason is not None:
                raise FailedError(backoff.give_up_reason, backoff.host, f"given up: {backoff.give_up_reason}")
        if error.is_permanent or failures > self._retries:
            raise FailedError(str(error), error.host, error.reason)
        if is_unavailable and self._backoffs.is_resting(at_fault):
            return 0
        for one in affected:
            log_image_retry(one.image, error, image.attempts, self._retry_delay_time)
        return self._retry_delay_time
