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
from deploy.queue.ledger import Ledger, select_requested_jobs
from deploy.results.parse import failure_from, reading_from
from deploy.retries import Backoff, Poll, StatusLine, duration

__all__ = ["Progress", "QueueWaiter"]

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
    def from_jobs(cls, jobs: Sequence[Job]) -> Progress:
        """Count the states and pages of some jobs."""
        states = Counter(job.state for job in jobs)
        done = [job for job in jobs if job.state is State.DONE]
        counts = [job.pages_read for job in done if job.pages_read is not None]
        mean_pages = sum(counts) / len(counts) if counts else None
        pages_of_waiting = [
            job.num_pages or mean_pages for job in jobs if job.state is State.SUBMITTED
        ]
        known_pages = [pages for pages in pages_of_waiting if pages is not None]
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
            pages_left=sum(known_pages)
            if len(known_pages) == len(pages_of_waiting)
            else None,
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
            parts.append(f"{self.num_failed:,} failed ({_format_codes(self.codes)})")
        if self.num_unsent:
            parts.append(f"{self.num_unsent:,} not in the queue")
        parts.append(f"{self.pages_read:,} pages")
        if self.pages_failed:
            parts.append(
                f"{self.pages_failed:,} pages failed ({_format_codes(self.page_codes)})"
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


class QueueWaiter:
    """Polling of S3 for the results and failures of a queue.

    Outcomes are recorded in the ledger.
    """

    def __init__(
        self,
        ledger: Ledger,
        objects: Objects,
        table: AsynchronousTable,
        console: Console,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        select_jobs: Callable[[Ledger], Iterable[Job]] = select_requested_jobs,
    ) -> None:
        """Prepare to wait for the jobs that `select_jobs` selects from the ledger."""
        self._select_jobs = select_jobs
        self._ledger = ledger
        self._objects = objects
        self._lost_after_seconds = (
            table.wait_seconds + table.timeout_seconds + GRACE_SECONDS
        )
        self._console = console
        self._clock = clock
        self._sleep = sleep

    def run(self, timeout_seconds: float | None) -> Progress:
        """Wait until no document is waiting, and return the final progress.

        Prints the progress, and records the outcomes in the ledger. Transient errors of
        AWS do not end the wait. Raises WaitTimeoutError after `timeout_seconds`, and
        Interrupted on Ctrl-C.
        """
        jobs = {job.key: job for job in self._select_jobs(self._ledger)}
        progress = Progress.from_jobs(list(jobs.values()))
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
            for attempt in poll:
                with attempt:
                    self._record_outcomes(jobs)
                    if not _select_waiting(jobs):
                        # Another process may have submitted more meanwhile.
                        jobs = {job.key: job for job in self._select_jobs(self._ledger)}
                        self._record_outcomes(jobs, with_failed=True)
                    progress = Progress.from_jobs(list(jobs.values()))
                    read = progress.pages_read - read_before
                    elapsed = poll.elapsed_seconds
                    if read and elapsed > 0:
                        progress = replace(progress, pages_per_second=read / elapsed)
                    sentence = progress.sentence
                    fixed_text = sentence.partition(" pages/s")[0].rpartition(",")[0]
                    line.show(fixed_text, sentence)
                    if not progress.num_waiting:
                        return progress
        except KeyboardInterrupt:
            raise Interrupted(
                "the endpoint continues; `async wait` resumes waiting"
            ) from None
        raise WaitTimeoutError(
            f"{progress.num_waiting:,} documents still wait after "
            f"{duration(poll.elapsed_seconds)}. The endpoint continues to read them",
            hint="chandra-sagemaker async wait, to continue waiting",
        )

    def check_once(self) -> Progress:
        """Look once for the outcomes of all jobs, record them, return the progress."""
        jobs = {job.key: job for job in self._select_jobs(self._ledger)}
        self._record_outcomes(jobs, with_failed=True)
        return Progress.from_jobs(list(jobs.values()))

    def _record_outcomes(
        self, jobs: dict[str, Job], *, with_failed: bool = False
    ) -> None:
        """Record the jobs that have ended or are lost, in the ledger and in `jobs`.

        With `with_failed`, look for results of failed jobs too. A request without an
        answer may have been sent twice, so one copy may fail and the other be read. A
        document that was recorded as lost may still be read.
        """
        waiting = _select_waiting(jobs)
        if with_failed:
            waiting += [
                job
                for job in jobs.values()
                if job.state is State.FAILED and job.output is not None
            ]
        existing_uris = self._list_existing(waiting)
        with ThreadPoolExecutor(NUM_LARGE_TRANSFERS) as threads:
            for ended_job in threads.map(
                lambda job: self._find_outcome(job, existing_uris), waiting
            ):
                if ended_job is not None:
                    saved_job = self._ledger.save(ended_job)
                    stored_job = saved_job or self._ledger.find_job(ended_job.key)
                    jobs[ended_job.key] = stored_job or ended_job

    def _list_existing(self, waiting: Sequence[Job]) -> set[str]:
        """List the folders of results and failures; return the URIs that exist."""
        uris = {uri for job in waiting for uri in (job.output, job.failure) if uri}
        existing_uris: set[str] = set()
        for folder in sorted({uri.rpartition("/")[0] for uri in uris}):
            bucket, prefix = split_uri(f"{folder}/")
            try:
                items = list(self._objects.list_objects(bucket, prefix))
            except NotFoundError:
                continue
            existing_uris.update(item.uri for item in items if item.uri in uris)
        return existing_uris

    def _find_outcome(self, job: Job, existing_uris: set[str]) -> Job | None:
        """Return the job with its outcome; None if it has no new one.

        A job without an outcome after the longest possible time has failed as lost.
        """
        now = self._clock()
        if job.output in existing_uris:
            reading = reading_from(self._read(job.output), job.accept)
            return job.with_outcome(
                state=State.DONE,
                since=now,
                pages_read=reading.pages_read,
                pages_failed=reading.pages_failed,
            )
        if job.state is State.FAILED:
            return None
        if job.failure in existing_uris:
            failure = failure_from(self._read(job.failure))
            return job.with_outcome(
                state=State.FAILED, since=now, code=failure.code, detail=failure.detail
            )
        if now - job.since > self._lost_after_seconds:
            return job.with_outcome(
                state=State.FAILED,
                since=now,
                code="lost",
                detail="neither a result nor a failure arrived within "
                f"{duration(now - job.since)}",
            )
        return None

    def _read(self, uri: str | None) -> bytes:
        return self._objects.read(*split_uri(uri or ""))


def _select_waiting(jobs: dict[str, Job]) -> list[Job]:
    return [job for job in jobs.values() if job.state is State.SUBMITTED]


def _format_codes(codes: dict[str, int]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in sorted(codes.items()))
