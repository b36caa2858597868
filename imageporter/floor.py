"""The floor of a pass: the workers of both stages, and how often they try."""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from imageporter import logs
from imageporter.crane_errors import CraneError, Kind
from imageporter.line import Job, Line
from imageporter.pauses import Pauses
from imageporter.report import INTERRUPTED, Clock
from imageporter.settings import Settings
from imageporter.stop import InterruptedPassError, Stop


class Floor:
    """Workers of both stages: PROBES of them look up, JOBS of them copy.

    With one of each, one worker does all, and a job that is tried again keeps its place: the order is the files'.
    """

    def __init__(self, settings: Settings, stop: Stop) -> None:
        self.probing = Line()
        self.alone = settings.probes == settings.jobs == 1
        self.copying = self.probing if self.alone else Line()
        self._settings = settings
        self._stop = stop
        self._pauses = Pauses(settings)
        self._changed = threading.Condition()
        self._open = 0

    @contextmanager
    def working(self) -> Iterator["Floor"]:
        """A context in which the workers are there."""
        lines = [self.probing] * self._settings.probes + [self.copying] * (0 if self.alone else self._settings.jobs)
        workers = [threading.Thread(target=self._work, args=(line,), daemon=True) for line in lines]
        with self._stop.ending(self._hurry):
            for worker in workers:
                worker.start()
            try:
                yield self
            finally:
                for line in (self.probing, self.copying):
                    line.close()
                for worker in workers:
                    worker.join()

    def run(self, jobs: Iterable[Job]) -> None:
        """Have `jobs`, and all that they put, done by the workers."""
        with self._changed:
            self._open += 1
        for job in jobs:
            self.put(self.probing, job)
        self._less()
        with self._changed:
            self._changed.wait_for(lambda: not self._open)

    def put(self, line: Line, job: Job) -> None:
        """Add a job; from a job, before it ends."""
        with self._changed:
            self._open += 1
        line.put(job)

    def _less(self) -> None:
        with self._changed:
            self._open -= 1
            if not self._open:
                self._changed.notify_all()

    def _hurry(self) -> None:
        self._pauses.end()
        self.probing.hurry()
        self.copying.hurry()

    def _work(self, line: Line) -> None:
        while job := line.get():
            try:
                ended = self._pauses.admit(job, line) and self._attempt(job, line)
            except Exception as error:  # a worker that dies would leave its job open for ever
                logs.bug(error)
                ended = True
            if ended:
                self._less()

    def _attempt(self, job: Job, line: Line) -> bool:
        """Try `job` once; gives whether that was the end of it."""
        refusing: str | None = None
        reason = self._pauses.hopeless(job)
        try:
            self._stop.check()
            if reason is None:
                job.clock = job.clock if job.attempts else Clock()
                job.attempts += 1
                job.work(job)
        except CraneError as error:
            if error.kind is Kind.RATE_LIMITED:
                refusing = error.host or min(job.hosts)
                self._pauses.refused(job, line, refusing, error)
                return False
            if error.permanent or job.attempts > self._settings.retries:
                reason = str(error)
            else:
                self._again(job, line, error)
                return False
        except InterruptedPassError:
            reason = INTERRUPTED
        except Exception as error:  # one image's failure never stops another's, even where it is ours
            logs.bug(error)
            reason = f"unexpected {type(error).__name__}"
        finally:
            self._pauses.answered(job, job.hosts - {refusing})
        if reason is not None:
            job.fail(job, reason)
        return True

    def _again(self, job: Job, line: Line, error: CraneError) -> None:
        delay = self._settings.retry_delay_time
        for image in job.images:
            logs.event(
                "image.retry",
                f"trying again in {delay:g} s: {image.source} -> {image.target}: {error}",
                "WARNING",
                source=str(image.source),
                target=str(image.target),
                attempt=job.attempts,
                error=str(error),
            )
        if self.alone:
            with suppress(InterruptedPassError):  # the next check raises it
                self._stop.wait(delay)
            line.put(job)
        else:
            line.put(job, time.monotonic() + delay)
