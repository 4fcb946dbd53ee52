"""State, results and log of a transform job, and their summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from deploy.batch.job import LOG_GROUP, TransformState, Work
from deploy.batch.outcome import UNKNOWN, FailedDocument, JobLog, group_by_code
from deploy.commands.batch.job.jobs import (
    SLACK,
    transforms_of,
    without_result,
)
from deploy.commands.batch.job.parts import MissingPages
from deploy.commands.batch.job.report import Summary, describe_counts
from deploy.context import Context
from deploy.documents.document import strip_scheme
from deploy.errors import (
    AccessDeniedError,
    CredentialsError,
    DeployError,
    TransientError,
)
from deploy.failures import is_permanent
from deploy.machines.prices import hourly_price
from deploy.monitoring.logs import LogEvent, LogReader
from deploy.retries import DEFAULT_BACKOFF, Poll

__all__ = [
    "SplitFailures",
    "Watch",
    "await_log",
    "split_failures",
    "summarize_job",
]

# CloudWatch shows a line some seconds after it was written. A log is complete if it has
# lines and got no more in a few polls, or if its job ended a minute ago.
POLL_SECONDS = 5.0
LONGEST_DELAY = timedelta(minutes=1)
MAX_QUIET_POLLS = 3


@dataclass(frozen=True, slots=True)
class SplitFailures:
    """Documents of a job that failed, by whether a retry may read them."""

    to_retry: tuple[Work, ...]
    """Documents that have no result, or lack pages after a transient error."""
    given_up: Mapping[Work, FailedDocument]
    """Documents with a permanent error."""


class Watch:
    """Progress of a job, including the events of its log so far.

    `look` and `follow_job` read results and log, on which the other properties rely.
    Failures of an ended job are final after `await_log`.
    """

    def __init__(self, context: Context, state: TransformState) -> None:
        self._transforms = transforms_of(context)
        self._name = state.name
        self._state = state
        self.prefix, self.work = self._transforms.read_work(state)
        self.left_out = self._transforms.read_left_out(state)
        self.log = JobLog(frozenset(map(self._subject, self.work)))
        since = state.created or context.now
        self._reader = LogReader(
            context.aws,
            LOG_GROUP,
            since=since - timedelta(minutes=5),
            streams=f"{state.name}/",
        )
        self._since = since - SLACK
        self._unread: tuple[Work, ...] = self.work
        self._results: Mapping[str, datetime] = {}
        self.num_lines = 0
        self.log_error: str | None = None
        """Message of the error if the caller may not read the log."""

    def read_state(self) -> TransformState:
        """Read the job's state; raises TransientError if the job is not listed yet."""
        state = self._transforms.poll_job(self._name)
        if state is None:
            raise TransientError(
                f"transform job {self._name} is not shown yet",
                hint=f"chandra-sagemaker transform wait {self._name}",
            )
        return state

    def look(self) -> None:
        """Read the results and the log once."""
        self.read_results()
        self.read_log()

    def read_results(self) -> int:
        """List the results in S3; return how many documents have one."""
        self._results = self._transforms.list_results(
            self._state.output, since=self._since
        )
        self._unread = without_result(self.work, self._results, self.prefix)
        return len(self.work) - len(self._unread)

    def count_own_results(self, ended: datetime | None) -> int:
        """Return how many documents had a result by the time `ended`.

        Later results are those of another job, which has a log of its own.
        """
        latest = None if ended is None else ended + SLACK
        results = {
            key: modified
            for key, modified in self._results.items()
            if latest is None or modified <= latest
        }
        return len(self.work) - len(without_result(self.work, results, self.prefix))

    @property
    def unread_documents(self) -> tuple[Work, ...]:
        """Documents that had no result at the last `read_results`."""
        return self._unread

    @property
    def read_documents(self) -> list[Work]:
        """Documents that had a result at the last `read_results`."""
        unread = set(self._unread)
        return [work for work in self.work if work not in unread]

    def has_unknown_failure(self) -> bool:
        """Return True if the log does not say why a document has no result."""
        return any(failure.code == UNKNOWN for failure in self.failures())

    def failures(self) -> list[FailedDocument]:
        """Return a failure for each document without a result, with the logged code.

        While the job runs, these include documents that it has not read yet.
        """
        return [
            self.log.explain_failure(self._subject(work), work.name, work.document)
            for work in self._unread
        ]

    @property
    def parts(self) -> MissingPages:
        """Search for missing pages in the results at the last `read_results`."""
        ended = self._state.ended
        latest = None if ended is None else ended + SLACK
        return MissingPages(
            self._transforms, self._state, self.prefix, self._results, latest
        )

    def describe_failures(self) -> str:
        """Return the number of failures by code; empty if none is logged."""
        failed = self.log.list_failed_objects()
        return describe_counts(
            group_by_code(
                self.log.explain_failure(self._subject(work), work.name, work.document)
                for work in self._unread
                if self._subject(work) in failed
            )
        )

    def read_log(self) -> Sequence[str]:
        """Read new lines of the log; return those that report a problem.

        Return nothing if the log cannot be read. Raises CredentialsError.
        """
        try:
            events = self._reader.read()
        except AccessDeniedError as error:
            self.log_error = error.message
            return []
        except CredentialsError:
            raise
        except DeployError:
            # A job can be followed without its log.
            return []
        self.num_lines += len(events)
        for event in events:
            self.log.add_line(event.message)
        return [event.message for event in events if _is_problem(event)]

    def _subject(self, work: Work) -> str:
        """Return the name of a document in the log: bucket and key."""
        return f"{strip_scheme(self.prefix)}{work.key}"


def await_log(context: Context, watch: Watch, state: TransformState) -> None:
    """Read the log of an ended job until it is complete; add its lines to `watch`.

    The log is complete if it covers every document, or if no more lines are expected,
    which is at the latest one minute after the end of the job. Return at once if the
    job has not ended, never started, or has a log that may not be read. The log must
    have been read once before.
    """
    if state.is_changing or state.started is None:
        return
    num_read = watch.count_own_results(state.ended)
    num_quiet = 0
    latest = (state.ended or context.now) + LONGEST_DELAY
    # The end is by the clock of AWS, which may be ahead of this machine's.
    timeout = min(latest - context.now, LONGEST_DELAY)
    poll = Poll(
        POLL_SECONDS,
        timeout.total_seconds(),
        DEFAULT_BACKOFF,
        clock=context.clock,
        sleep=context.sleep,
        say=context.console.say,
    )
    for num_polls, attempt in enumerate(poll):
        with attempt:
            # The caller has just read the log: the first poll reads nothing.
            if num_polls > 0:
                num_lines = watch.num_lines
                watch.read_log()
                num_quiet = 0 if watch.num_lines > num_lines else num_quiet + 1
            is_quiet = watch.num_lines > 0 and num_quiet == MAX_QUIET_POLLS
            if watch.log_error is not None or is_quiet:
                return
            if _log_covers_documents(watch, state, num_read):
                return


def _log_covers_documents(watch: Watch, state: TransformState, num_read: int) -> bool:
    is_explained = state.status == "Stopped" or not watch.has_unknown_failure()
    return is_explained and watch.log.num_answered >= num_read


def _describe_log_gap(watch: Watch, state: TransformState) -> str | None:
    """Return a sentence on what the log of an ended job lacks; None if complete."""
    num_read = watch.count_own_results(state.ended)
    unknown = "the number of pages, and whether any failed, is not known"
    if watch.log_error is not None:
        return f"the job's log cannot be read: {unknown} ({watch.log_error})"
    if not watch.num_lines:
        return f"the job's log has no lines, or they are late: {unknown}"
    num_covered = watch.log.num_answered
    if num_covered < num_read:
        return (
            f"the job's log covers {num_covered} of {num_read} documents that were "
            f"read: for the others, {unknown}"
        )
    return None


def split_failures(watch: Watch) -> SplitFailures:
    """Return the documents of an ended job to retry, and those that would fail again.

    May read results, to find those that lack pages.
    """
    failures = dict(zip(watch.unread_documents, watch.failures(), strict=True))
    given_up = {
        work: failure
        for work, failure in failures.items()
        if is_permanent(failure.code)
    }
    left = [work for work in failures if work not in given_up]
    in_part = watch.parts.find(watch.read_documents, watch.log, may_pass=True)
    return SplitFailures((*left, *in_part), given_up)


def summarize_job(context: Context, watch: Watch, state: TransformState) -> Summary:
    """Return the summary of a job as it was last read.

    May read results of an ended job, to find those that lack pages.
    """
    is_stopped = state.status == "Stopped"
    failures = () if state.is_changing else tuple(watch.failures())
    if is_stopped:
        failures = tuple(
            replace(
                failure,
                code="not_read",
                reason="the job was stopped before the document was read",
            )
            if failure.code == UNKNOWN
            else failure
            for failure in failures
        )
    may_pass: Mapping[Work, Mapping[int, str]] = {}
    missing: Mapping[Work, Mapping[int, str]] = {}
    if not state.is_changing:
        parts, done = watch.parts, watch.read_documents
        may_pass = parts.find(done, watch.log, may_pass=True)
        missing = {**parts.find(done, watch.log, may_pass=False), **may_pass}
    seconds = _seconds(state, context.now)
    price = hourly_price(state.instance_type, state.instance_count)
    return Summary(
        state=state,
        num_documents=len(watch.work),
        num_read=len(watch.read_documents),
        failures=failures,
        num_pages=watch.log.num_pages,
        log_gap=None if state.is_changing else _describe_log_gap(watch, state),
        page_codes=dict(watch.log.page_codes),
        in_part=tuple(work.name for work in may_pass),
        missing={work.name: pages for work, pages in missing.items()},
        seconds=seconds,
        left_out=watch.left_out,
        cost=None if price is None or seconds is None else price * seconds / 3600,
    )


def _seconds(state: TransformState, now: datetime) -> float | None:
    """Return the running time of the job; None if its start or end is not known."""
    if state.started is None:
        return None
    ended = state.ended or (now if state.is_changing else None)
    return None if ended is None else max(0.0, (ended - state.started).total_seconds())


def _is_problem(event: LogEvent) -> bool:
    message = event.message
    if "[sagemaker logs]: " in message:
        return "ClientError" in message or "algorithm" in message
    return event.is_error and '"event": "request"' not in message
