"""Wait until every document of a queue is read or has failed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from deploy.concurrency import NUM_LARGE_TRANSFERS
from deploy.config import AsynchronousTable
from deploy.console import Console
from deploy.documents.document import Objects, split_uri
from deploy.errors import (
    Interrupted,
    NotFoundError,
    WaitTimeoutError,
)
from deploy.failures import is_permanent
from deploy.queue.job import Job, State
from deploy.queue.ledger import Ledger, requested_jobs
from deploy.results.parse import failure_from, reading_from
from deploy.retries import Backoff, Poll, StatusLine, duration

__all__ = ["Progress", "Waiting"]

POLL_SECONDS = 10.0
# The endpoint reads the queue by itself, so an outage of any length does not end the
# wait.
BACKOFF = Backoff(num_retries=None, first_seconds=10.0, longest_seconds=10.0)
# Time that SageMaker takes to write a result or a failure to S3.
GRACE_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of the documents in a ledger."""

    num_read: int
    num_failed: int
    num_waiting: int
    num_unsent: int
    pages_read: int
    pages_failed: int
    pages_left: float | None
    """Estimated pages of waiting documents; unknown ones count as the mean. None if it
    cannot be estimated."""
    codes: dict[str, int]
    """Number of failed documents by error code."""
    page_codes: dict[str, int]
    """Number of failed pages by error code."""
    num_in_part: int = 0
    """Number of documents that lack pages which another attempt may read."""
    num_transient: int = 0
    """Number of failed documents whose error is transient."""
    permanent: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Sources of documents with a permanent error, by error code."""
    pages_per_second: float | None = None
    """Pages read per second since this run began."""

    @classmethod
    def of(cls, jobs: Sequence[Job]) -> Progress:
        """Return the progress of some jobs."""
        states = Counter(job.state for job in jobs)
        done = [job for job in jobs if job.state is State.DONE]
        counts = [job.pages_read for job in done if job.pages_read is not None]
        mean = sum(counts) / len(counts) if counts else None
        left = [job.num_pages or mean for job in jobs if job.state is State.SUBMITTED]
        known = [pages for pages in left if pages is not None]
        permanent: defaultdict[str, list[str]] = defaultdict(list)
        num_transient = 0
        for job in jobs:
            if job.state is State.FAILED and is_permanent(job.code):
                permanent[job.code or ""].append(job.source)
            elif job.state is State.FAILED:
                num_transient += 1
        page_codes: Counter[str] = Counter()
        for job in done:
            page_codes.update(job.pages_failed)
        return cls(
            num_read=states[State.DONE],
            num_failed=states[State.FAILED],
            num_waiting=states[State.SUBMITTED],
            num_unsent=states[State.NEW] + states[State.SENDING],
            pages_read=sum(counts),
            pages_failed=page_codes.total(),
            pages_left=sum(known) if len(known) == len(left) else None,
            codes=dict(
                Counter(j.code or "failed" for j in jobs if j.state is State.FAILED)
            ),
            page_codes=dict(page_codes),
            num_in_part=sum(job.is_retryable for job in done),
            num_transient=num_transient,
            permanent=dict(permanent),
        )

    @property
    def num_documents(self) -> int:
        return self.num_read + self.num_failed + self.num_waiting + self.num_unsent

    @property
    def seconds_left(self) -> float | None:
        if not self.pages_per_second or self.pages_left is None:
            return None
        return self.pages_left / self.pages_per_second

    @property
    def sentence(self) -> str:
        """Description of the progress in one line."""
        parts = [f"{self.num_read:,} of {self.num_documents:,} documents read"]
        if self.num_failed:
            parts.append(f"{self.num_failed:,} failed ({_codes(self.codes)})")
        if self.num_unsent:
            parts.append(f"{self.num_unsent:,} not in the queue")
        parts.append(f"{self.pages_read:,} pages")
        if self.pages_failed:
            parts.append(
                f"{self.pages_failed:,} pages failed ({_codes(self.page_codes)})"
            )
        if self.pages_per_second:
            parts.append(f"{self.pages_per_second:.2f} pages/s")
        if self.num_waiting and self.seconds_left is not None:
            parts.append(f"about {duration(self.seconds_left)} left")
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        return {
            "documents": self.num_documents,
            "read": self.num_read,
            "failed": self.num_failed,
            "waiting": self.num_waiting,
            "not_in_the_queue": self.num_unsent,
            "pages": self.pages_read,
            "pages_failed": self.pages_failed,
            "pages_per_second": self.pages_per_second,
            "seconds_left": self.seconds_left,
            "failures": self.codes,
            "page_failures": self.page_codes,
            "in_part": self.num_in_part,
            "may_pass": self.num_transient,
        }


class Waiting:
    """Polling of the places where results and failures are written."""

    def __init__(
        self,
        ledger: Ledger,
        objects: Objects,
        table: AsynchronousTable,
        console: Console,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        wanted: Callable[[Ledger], Iterable[Job]] = requested_jobs,
    ) -> None:
        """Set up the wait for jobs that `wanted` selects from the ledger."""
        self._wanted = wanted
        self._ledger = ledger
        self._objects = objects
        self._longest = table.wait_seconds + table.timeout_seconds + GRACE_SECONDS
        self._console = console
        self._clock = clock
        self._sleep = sleep

    def run(self, timeout_seconds: float | None) -> Progress:
        """Wait until no document is waiting, and return the progress.

        Raises WaitTimeoutError after `timeout_seconds`, and Interrupted on Ctrl-C.
        """
        jobs = self._all()
        progress = Progress.of(list(jobs.values()))
        read_before = progress.pages_read
        poll = Poll(
            POLL_SECONDS,
            timeout_seconds,
            BACKOFF,
            clock=self._clock,
            sleep=self._sleep,
            say=self._console.say,
        )
        line = StatusLine(poll, self._console.say)
        try:
            for look in poll:
                with look:
                    self._look(jobs)
                    if not _waiting(jobs):
                        # Another process may have submitted more meanwhile.
                        jobs = self._all()
                        self._look(jobs, with_failed=True)
                    progress = Progress.of(list(jobs.values()))
                    read = progress.pages_read - read_before
                    elapsed = poll.elapsed_seconds
                    if read and elapsed > 0:
                        progress = replace(progress, pages_per_second=read / elapsed)
                    sentence = progress.sentence
                    head = sentence.partition(" pages/s")[0].rpartition(",")[0]
                    line.show(head, sentence)
                    if not progress.num_waiting:
                        return progress
        except KeyboardInterrupt:
            raise Interrupted(
                "the endpoint reads on: async wait waits for it"
            ) from None
        raise WaitTimeoutError(
            f"{progress.num_waiting:,} documents still wait after "
            f"{duration(poll.elapsed_seconds)}. The endpoint continues to read them",
            hint="chandra-sagemaker async wait, to wait on",
        )

    def look(self) -> Progress:
        """Check all jobs once and return the progress."""
        jobs = self._all()
        self._look(jobs, with_failed=True)
        return Progress.of(list(jobs.values()))

    def _all(self) -> dict[str, Job]:
        return {job.key: job for job in self._wanted(self._ledger)}

    def _look(self, jobs: dict[str, Job], *, with_failed: bool = False) -> None:
        """Record the jobs that have ended or are lost.

        A request without an answer may have been sent twice, so one copy may fail and
        the other be read. A document that was recorded as lost may still be read.
        """
        waiting = _waiting(jobs)
        if with_failed:
            waiting += [
                job
                for job in jobs.values()
                if job.state is State.FAILED and job.output is not None
            ]
        there = self._there(waiting)
        with ThreadPoolExecutor(NUM_LARGE_TRANSFERS) as threads:
            for settled in threads.map(lambda job: self._settled(job, there), waiting):
                if settled is not None:
                    saved = self._ledger.save(settled)
                    found = saved or self._ledger.job(settled.key)
                    jobs[settled.key] = found or settled

    def _there(self, waiting: Sequence[Job]) -> set[str]:
        """Return the existing results and failures, by listing their folders."""
        uris = {uri for job in waiting for uri in (job.output, job.failure) if uri}
        folders = {uri.rpartition("/")[0] for uri in uris}
        return {
            item.uri
            for folder in sorted(folders)
            for item in self._below(f"{folder}/")
            if item.uri in uris
        }

    def _below(self, uri: str) -> Sequence[Any]:
        bucket, prefix = split_uri(uri)
        try:
            return list(self._objects.below(bucket, prefix))
        except NotFoundError:
            return ()

    def _settled(self, job: Job, there: set[str]) -> Job | None:
        now = self._clock()
        if job.output in there:
            reading = reading_from(self._read(job.output), job.accept)
            return job.settled(
                state=State.DONE,
                since=now,
                pages_read=reading.pages_read,
                pages_failed=reading.pages_failed,
            )
        if job.state is State.FAILED:
            return None
        if job.failure in there:
            failure = failure_from(self._read(job.failure))
            return job.settled(
                state=State.FAILED, since=now, code=failure.code, detail=failure.detail
            )
        if now - job.since > self._longest:
            return job.settled(
                state=State.FAILED,
                since=now,
                code="lost",
                detail="neither an answer nor a failure came in "
                f"{duration(now - job.since)}",
            )
        return None

    def _read(self, uri: str | None) -> bytes:
        return self._objects.read(*split_uri(uri or ""))


def _waiting(jobs: dict[str, Job]) -> list[Job]:
    return [job for job in jobs.values() if job.state is State.SUBMITTED]


def _codes(codes: dict[str, int]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in sorted(codes.items()))
