"""What transform's verbs share: a job looked up, watched, and summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from deploy.advice import advice_for
from deploy.aws.logs import LogEvent, LogReader
from deploy.aws.transforms import Transforms
from deploy.commands.context import Context
from deploy.errors import DeployError, NotFoundError, ResourceFailedError
from deploy.executor import duration
from deploy.machines.prices import dollars, hourly
from deploy.transform.following import follow
from deploy.transform.job import LOG_GROUP, TransformState, Work, outputs_of
from deploy.transform.outcome import UNKNOWN, Failure, JobLog, by_code

__all__ = [
    "NUM_NAMED",
    "Summary",
    "Watch",
    "done_of",
    "failure_lines",
    "found",
    "summed_up",
    "tell",
    "transforms_of",
    "watched",
]

# CloudWatch shows a line some seconds after it was written.
NUM_LOOKS = 6
LOOK_SECONDS = 10.0
# A result from before the job is not the job's; S3's times are whole seconds.
SLACK = timedelta(seconds=2)
NUM_NAMED = 20


def transforms_of(context: Context) -> Transforms:
    return Transforms(context.aws, context.config.name)


def found(context: Context, name: str) -> TransformState:
    """A job of ours; raises NotFoundError."""
    state = transforms_of(context).transform(name)
    if state is None or not state.is_ours:
        raise NotFoundError(
            f"there is no transform job {name} of deployment {context.config.name}",
            hint="chandra-sagemaker transform status",
        )
    return state


class Watch:
    """One job as it goes along, and what its log has said so far."""

    def __init__(self, context: Context, state: TransformState) -> None:
        self._transforms = transforms_of(context)
        self._name = state.name
        self._state = state
        self.prefix, self.work = self._transforms.work(state)
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

    def state(self) -> TransformState:
        state = self._transforms.transform(self._name)
        if state is None:
            raise DeployError(
                f"transform job {self._name} is not shown yet",
                hint=f"chandra-sagemaker transform wait {self._name}",
            )
        return state

    def num_done(self) -> int:
        done = done_of(self._transforms, self._state.output, since=self._since)
        self._left = tuple(
            work
            for work in self.work
            if not any(key in done for key in outputs_of(work.key, self.prefix))
        )
        return len(self.work) - len(self._left)

    def left(self) -> tuple[Work, ...]:
        """Those without a result when `num_done` was asked last."""
        return self._left

    def failures(self) -> list[Failure]:
        """Of all that have no result; true once the job has ended."""
        return [
            self.log.failure(self._subject(work), work.name, work.document)
            for work in self._left
        ]

    def failed(self) -> str:
        given_up = self.log.failed()
        return counted(
            by_code(
                self.log.failure(self._subject(work), work.name, work.document)
                for work in self._left
                if self._subject(work) in given_up
            )
        )

    def lines(self) -> Sequence[str]:
        try:
            events = self._reader.read()
        except DeployError:
            # Log lines are worth having, and not worth giving a job up for.
            return []
        for event in events:
            self.log.add(event.message)
        return [event.message for event in events if _is_trouble(event)]

    def _subject(self, work: Work) -> str:
        return f"{self.prefix.removeprefix('s3://')}{work.key}"


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a job."""

    state: TransformState
    num_documents: int
    num_read: int
    failures: tuple[Failure, ...]
    num_pages: int
    """As the container's log has it; 0 where it is gone."""
    page_codes: Mapping[str, int]
    """Pages that failed in documents that were read."""
    seconds: float | None
    cost: float | None
    """US dollars."""

    def to_json(self) -> dict[str, Any]:
        return {
            "job": self.state.name,
            "status": self.state.status,
            "output": self.state.output,
            "documents": self.num_documents,
            "read": self.num_read,
            "failures": [failure.to_json() for failure in self.failures],
            "pages": self.num_pages,
            "failed_pages": dict(self.page_codes),
            "seconds": self.seconds,
            "cost": self.cost,
            "reason": self.state.failure,
        }


def watched(
    context: Context, state: TransformState, *, timeout_seconds: float | None
) -> Summary:
    """Follow a job to its end, and say what came of it."""
    watch = Watch(context, state)
    ended = follow(
        watch,
        context.console,
        total=len(watch.work),
        clock=context.clock,
        sleep=context.sleep,
        timeout_seconds=timeout_seconds,
    )
    return _summary(context, watch, ended)


def summed_up(context: Context, state: TransformState) -> Summary:
    """Of a job that has ended, or as it stands."""
    watch = Watch(context, state)
    watch.num_done()
    watch.lines()
    return _summary(context, watch, state)


def _summary(context: Context, watch: Watch, state: TransformState) -> Summary:
    num_read = watch.num_done()
    is_stopped = state.status == "Stopped"
    for _ in range(NUM_LOOKS if not state.is_changing else 0):
        is_told = is_stopped or all(f.code != UNKNOWN for f in watch.failures())
        if is_told and (watch.log.num_pages or not num_read):
            break
        context.sleep(LOOK_SECONDS)
        watch.lines()
    failures = () if state.is_changing else tuple(watch.failures())
    if is_stopped:
        failures = tuple(
            replace(failure, code="not_read", reason="the job was stopped before")
            if failure.code == UNKNOWN
            else failure
            for failure in failures
        )
    seconds = _seconds(state, context.now)
    price = hourly(state.instance_type, state.instance_count)
    return Summary(
        state=state,
        num_documents=len(watch.work),
        num_read=num_read,
        failures=failures,
        num_pages=watch.log.num_pages,
        page_codes=dict(watch.log.page_codes),
        seconds=seconds,
        cost=None if price is None or seconds is None else price * seconds / 3600,
    )


def tell(
    context: Context, summary: Summary, *, left_out: Sequence[Failure] = ()
) -> int:
    """Say it, and how the command ends: 0 where every document was read.

    Raises ResourceFailedError where the job failed before it had read anything.
    """
    state = summary.state
    told = [failure for failure in summary.failures if failure.code != UNKNOWN]
    if state.status == "Failed" and not summary.num_read and not told:
        reason = state.failure or "SageMaker gives no reason"
        advice = advice_for(reason)
        meaning = f" ({advice.meaning})" if advice else ""
        raise ResourceFailedError(
            f"transform job {state.name} failed before it had read anything: {reason}"
            f"{meaning}",
            hint=f"{advice.hint if advice else 'chandra-sagemaker doctor'}; then "
            f"chandra-sagemaker transform --retry-failed {state.name}",
        )
    failures = [*left_out, *summary.failures]
    data = summary.to_json() | {"left_out": [each.to_json() for each in left_out]}
    context.console.result(data, _lines(summary, failures))
    # Failed by its own account, a job may have been mended by a later one.
    return 1 if failures else 0


def done_of(
    transforms: Transforms, output: str, *, since: datetime | None = None
) -> set[str]:
    """Keys of the results below an output."""
    return {
        result.key
        for result in transforms.results(output)
        if result.key.endswith(".out") and (since is None or result.modified >= since)
    }


def counted(groups: Mapping[str, Sequence[Failure]]) -> str:
    """`3 (unreadable_document 2, http_500 1)`; nothing where nothing failed."""
    total = sum(len(group) for group in groups.values())
    if not total:
        return ""
    codes = ", ".join(f"{code} {len(group)}" for code, group in groups.items())
    return f"{total} ({codes})"


def _lines(summary: Summary, failures: Sequence[Failure]) -> list[str]:
    state = summary.state
    lines = [
        f"transform job {state.name} {_ended(state)}: {summary.num_read} of "
        f"{summary.num_documents} documents read, in {state.output}"
    ]
    if state.failure and (UNKNOWN in {failure.code for failure in failures}):
        lines.append(f"SageMaker says: {state.failure}")
    lines += failure_lines(failures)
    if summary.num_pages:
        lines.append(f"pages read: {summary.num_pages:,}")
    if summary.page_codes:
        codes = ", ".join(f"{code} {n}" for code, n in summary.page_codes.items())
        lines.append(f"pages that failed in documents that were read: {codes}")
    if summary.seconds is not None:
        money = (
            f"about {dollars(summary.cost)}"
            if summary.cost is not None
            else "a price not known here"
        )
        lines.append(
            f"{duration(summary.seconds)} of {state.instance_count} x "
            f"{state.instance_type}: {money}"
        )
    if state.is_changing:
        lines.append(f"next: chandra-sagemaker transform wait {state.name}")
    elif summary.failures:
        lines.append(f"next: chandra-sagemaker transform --retry-failed {state.name}")
    return lines


def failure_lines(failures: Sequence[Failure]) -> list[str]:
    """By code, with the names of some."""
    lines = []
    for code, group in by_code(failures).items():
        reasons = {failure.reason for failure in group}
        why = f": {reasons.pop()}" if len(reasons) == 1 else ""
        lines.append(f"{len(group)} failed with {code}{why}")
        lines += [
            f"  {failure.name}" + ("" if why else f": {failure.reason}")
            for failure in group[:NUM_NAMED]
        ]
        if len(group) > NUM_NAMED:
            lines.append(f"  and {len(group) - NUM_NAMED} more; --json names all")
    return lines


def _ended(state: TransformState) -> str:
    words = {
        "Completed": "is done",
        # SageMaker fails a job for one document that failed.
        "Failed": "has ended",
        "Stopped": "was stopped",
        "Stopping": "is being stopped",
    }
    return words.get(state.status, "is running")


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
