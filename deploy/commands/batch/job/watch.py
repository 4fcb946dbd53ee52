"""State, results and log of a transform job, and the summary of what came of it."""

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
from deploy.commands.batch.job.parts import JobParts
from deploy.commands.batch.job.report import Summary, counted
from deploy.context import Context
from deploy.errors import (
    AccessDeniedError,
    CredentialsError,
    DeployError,
    TransientError,
)
from deploy.failures import is_permanent
from deploy.machines.prices import hourly
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

    left: tuple[Work, ...]
    """Documents that have no result, or lack pages after a transient error."""
    given_up: Mapping[Work, FailedDocument]
    """Documents with a permanent error."""


class Watch:
    """Progress of a job, including the events of its log so far.

    Its results and failures are those of the last `look`, or of `follow_job`. Those of
    a job that has ended are final after `await_log`.
    """

    def __init__(self, context: Context, state: TransformState) -> None:
        self._transforms = transforms_of(context)
        self._name = state.name
        self._state = state
        self.prefix, self.work = self._transforms.work(state)
        self.left_out = self._transforms.left_out(state)
        self.log = JobLog(frozenset(map(self._subject, self.work)))
        since = state.created or context.now
        self._reader = LogReader(
            context.aws,
            LOG_GROUP,
            since=since - timedelta(minutes=5),
            streams=f"{state.name}/",
        )
        self._since = since - SLACK
        self._left: tuple[Work, ...] = self.work
        self._results: Mapping[str, datetime] = {}
        self.num_lines = 0
        self.refused: str | None = None
        """Why its log may not be read."""

    def state(self) -> TransformState:
        state = self._transforms.poll(self._name)
        if state is None:
            raise TransientError(
                f"transform job {self._name} is not shown yet",
                hint=f"chandra-sagemaker transform wait {self._name}",
            )
        return state

    def look(self) -> None:
        """Read the results and the log once."""
        self.num_done()
        self.lines()

    def num_done(self) -> int:
        self._results = self._transforms.results(self._state.output, since=self._since)
        self._left = without_result(self.work, self._results, self.prefix)
        return len(self.work) - len(self._left)

    def num_own(self, ended: datetime | None) -> int:
        """Count the results of this job; the log of a later job covers the others."""
        latest = None if ended is None else ended + SLACK
        results = {
            key: modified
            for key, modified in self._results.items()
            if latest is None or modified <= latest
        }
        return len(self.work) - len(without_result(self.work, results, self.prefix))

    @property
    def left(self) -> tuple[Work, ...]:
        """Documents that had no result at the last `num_done`."""
        return self._left

    @property
    def done(self) -> list[Work]:
        """Documents that had a result at the last `num_done`."""
        left = set(self._left)
        return [work for work in self.work if work not in left]

    def has_unknown(self) -> bool:
        return any(failure.code == UNKNOWN for failure in self.failures())

    def failures(self) -> list[FailedDocument]:
        """Return failures of documents without result; final once the job has ended."""
        return [
            self.log.failure(self._subject(work), work.name, work.document)
            for work in self._left
        ]

    @property
    def parts(self) -> JobParts:
        """Pages that the documents lack, given the results at the last `num_done`."""
        ended = self._state.ended
        latest = None if ended is None else ended + SLACK
        return JobParts(
            self._transforms, self._state, self.prefix, self._results, latest
        )

    def failed(self) -> str:
        given_up = self.log.failed()
        return counted(
            group_by_code(
                self.log.failure(self._subject(work), work.name, work.document)
                for work in self._left
                if self._subject(work) in given_up
            )
        )

    def lines(self) -> Sequence[str]:
        try:
            events = self._reader.read()
        except AccessDeniedError as error:
            self.refused = error.message
            return []
        except CredentialsError:
            raise
        except DeployError:
            # A job can be followed without its log.
            return []
        self.num_lines += len(events)
        for event in events:
            self.log.add(event.message)
        return [event.message for event in events if _is_trouble(event)]

    def _subject(self, work: Work) -> str:
        return f"{self.prefix.removeprefix('s3://')}{work.key}"


def await_log(context: Context, watch: Watch, state: TransformState) -> None:
    """Read the log of an ended job until it is complete; add its lines to `watch`.

    The log is complete if it covers every document, or if no more lines are expected,
    which is at the latest one minute after the end of the job. Return at once if the
    job has not ended, never started, or has a log that may not be read. The log must
    have been read once before.
    """
    if state.is_changing or state.started is None:
        return
    num_read = watch.num_own(state.ended)
    num_quiet = 0
    latest = (state.ended or context.now) + LONGEST_DELAY
    poll = Poll(
        POLL_SECONDS,
        (latest - context.now).total_seconds(),
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
                watch.lines()
                num_quiet = 0 if watch.num_lines > num_lines else num_quiet + 1
            is_quiet = watch.num_lines > 0 and num_quiet == MAX_QUIET_POLLS
            if watch.refused is not None or is_quiet:
                return
            if _log_covers_documents(watch, state, num_read):
                return


def _log_covers_documents(watch: Watch, state: TransformState, num_read: int) -> bool:
    is_told = state.status == "Stopped" or not watch.has_unknown()
    return is_told and watch.log.num_answered >= num_read


def _untold(watch: Watch, state: TransformState) -> str | None:
    """Return a sentence on what the log of an ended job lacks; None if complete."""
    num_read = watch.num_own(state.ended)
    unknown = "how many pages there were, and whether any failed, is not known"
    if watch.refused is not None:
        return f"the job's log may not be read: {unknown} ({watch.refused})"
    if not watch.num_lines:
        return f"the job's log has no line, late or for ever: {unknown}"
    num_told = watch.log.num_answered
    if num_told < num_read:
        return (
            f"the job's log tells of {num_told} of {num_read} documents that were "
            f"read: of the others, {unknown}"
        )
    return None


def split_failures(watch: Watch) -> SplitFailures:
    """Return the documents of an ended job to retry, and those not worth a retry."""
    failures = dict(zip(watch.left, watch.failures(), strict=True))
    given_up = {
        work: failure
        for work, failure in failures.items()
        if is_permanent(failure.code)
    }
    left = [work for work in failures if work not in given_up]
    in_part = watch.parts.among(watch.done, watch.log, may_pass=True)
    return SplitFailures((*left, *in_part), given_up)


def summarize_job(context: Context, watch: Watch, state: TransformState) -> Summary:
    """Return the summary of a job as it was last seen."""
    is_stopped = state.status == "Stopped"
    failures = () if state.is_changing else tuple(watch.failures())
    if is_stopped:
        failures = tuple(
            replace(failure, code="not_read", reason="the job was stopped before")
            if failure.code == UNKNOWN
            else failure
            for failure in failures
        )
    may_pass: Mapping[Work, Mapping[int, str]] = {}
    missing: Mapping[Work, Mapping[int, str]] = {}
    if not state.is_changing:
        parts, done = watch.parts, watch.done
        may_pass = parts.among(done, watch.log, may_pass=True)
        missing = {**parts.among(done, watch.log, may_pass=False), **may_pass}
    seconds = _seconds(state, context.now)
    price = hourly(state.instance_type, state.instance_count)
    return Summary(
        state=state,
        num_documents=len(watch.work),
        num_read=len(watch.done),
        failures=failures,
        num_pages=watch.log.num_pages,
        untold=None if state.is_changing else _untold(watch, state),
        page_codes=dict(watch.log.page_codes),
        in_part=tuple(work.name for work in may_pass),
        missing={work.name: pages for work, pages in missing.items()},
        seconds=seconds,
        left_out=watch.left_out,
        cost=None if price is None or seconds is None else price * seconds / 3600,
    )


def _seconds(state: TransformState, now: datetime) -> float | None:
    if state.started is None:
        return None
    ended = state.ended or (now if state.is_changing else None)
    return None if ended is None else max(0.0, (ended - state.started).total_seconds())


def _is_trouble(event: LogEvent) -> bool:
    message = event.message
    if "[sagemaker logs]: " in message:
        return "ClientError" in message or "algorithm" in message
    return event.is_error and '"event": "request"' not in message
