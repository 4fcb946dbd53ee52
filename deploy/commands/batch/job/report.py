"""Report of a batch job as lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.batch.job import TransformState
from deploy.batch.outcome import UNKNOWN, FailedDocument, group_by_code
from deploy.context import Context
from deploy.errors import ResourceFailedError
from deploy.failures import advice_lines, is_permanent
from deploy.machines.prices import dollars
from deploy.plan.advice import advice_for
from deploy.results.parse import NUM_NAMED, part_lines
from deploy.retries import duration

__all__ = [
    "NUM_NAMED",
    "Summary",
    "describe_counts",
    "failure_lines",
    "given_up_lines",
    "report_summary",
]


@dataclass(frozen=True, slots=True)
class Summary:
    """State, results, failures and cost of a job."""

    state: TransformState
    num_documents: int
    num_read: int
    failures: tuple[FailedDocument, ...]
    num_pages: int
    """Number of pages according to the container's log; 0 if the log was deleted."""
    page_codes: Mapping[str, int]
    """Pages that failed in documents that were read."""
    in_part: tuple[str, ...]
    """Documents that lack pages after a transient error, by name."""
    missing: Mapping[str, Mapping[int, str]]
    """Known error codes of missing pages, by document name and page number."""
    log_gap: str | None
    """Sentence on what the log of an ended job lacks; None if it is complete."""
    seconds: float | None
    cost: float | None
    """US dollars."""
    left_out: tuple[FailedDocument, ...] = ()
    """Documents that the user named and that are in no job."""

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
            "in_part": list(self.in_part),
            "missing_pages": {name: dict(p) for name, p in self.missing.items()},
            "untold": self.log_gap,
            "seconds": self.seconds,
            "cost": self.cost,
            "reason": self.state.failure,
        }


def report_summary(
    context: Context,
    summary: Summary,
    *,
    left_out: Sequence[FailedDocument] | None = None,
) -> int:
    """Print the summary; return the exit status, 0 if every document was read.

    `left_out` are documents that this command did not send; None: those of the job.
    Raises ResourceFailedError if the job failed before it had read anything.
    """
    state = summary.state
    left_out = summary.left_out if left_out is None else left_out
    told = [failure for failure in summary.failures if failure.code != UNKNOWN]
    if state.status == "Failed" and not summary.num_read and not told:
        reason = state.failure or "SageMaker gives no reason"
        advice = advice_for(reason)
        meaning = f" ({advice.meaning})" if advice else ""
        raise ResourceFailedError(
            f"transform job {state.name} failed before it had read anything: {reason}"
            f"{meaning}",
            hint=f"{advice.hint if advice else 'chandra-sagemaker doctor'}; then "
            f"chandra-sagemaker transform retry {state.name}",
        )
    failures = [*left_out, *summary.failures]
    data = summary.to_json() | {"left_out": [each.to_json() for each in left_out]}
    context.console.print_result(data, _summary_lines(summary, failures))
    # A job of status Failed counts as a success if a later one has read the rest.
    return 1 if failures else 0


def describe_counts(groups: Mapping[str, Sequence[FailedDocument]]) -> str:
    """Return text such as `3 (unreadable_document 2, http_500 1)`; empty if none."""
    total = sum(len(group) for group in groups.values())
    if not total:
        return ""
    codes = ", ".join(f"{code} {len(group)}" for code, group in groups.items())
    return f"{total} ({codes})"


def _summary_lines(summary: Summary, failures: Sequence[FailedDocument]) -> list[str]:
    """Return the lines of the report.

    `failures` are the documents that were left out of the job, then
    `summary.failures`.
    """
    state = summary.state
    lines = [
        f"transform job {state.name} {_describe_status(state)}: {summary.num_read} of "
        f"{summary.num_documents} documents read, in {state.output}"
    ]
    if state.failure and (UNKNOWN in {failure.code for failure in failures}):
        lines.append(f"SageMaker reports: {state.failure}")
    lines += failure_lines(failures)
    if summary.num_pages:
        lines.append(f"pages read: {summary.num_pages:,}")
    if summary.page_codes:
        codes = ", ".join(f"{code} {n}" for code, n in summary.page_codes.items())
        lines.append(f"pages that failed in documents that were read: {codes}")
    lines += part_lines(summary.missing)
    if summary.in_part:
        more = len(summary.in_part) - NUM_NAMED
        lines.append(
            f"{len(summary.in_part)} lack pages after a transient error: "
            + ", ".join(summary.in_part[:NUM_NAMED])
            + (f" and {more} more" if more > 0 else "")
        )
    if summary.log_gap is not None:
        lines.append(f"note: {summary.log_gap}")
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
    else:
        lines += given_up_lines(summary.failures, state.name)
        may_succeed = any(not is_permanent(each.code) for each in summary.failures)
        if may_succeed or summary.in_part:
            lines.append(f"next: chandra-sagemaker transform retry {state.name}")
    return lines


def given_up_lines(failures: Iterable[FailedDocument], job: str) -> list[str]:
    """Return lines of advice on the documents of a job that would fail again."""
    names = {
        code: [failure.name for failure in group]
        for code, group in group_by_code(failures).items()
        if is_permanent(code)
    }
    if not names:
        return []
    again = f"chandra-sagemaker transform retry --all {job}"
    return [*advice_lines(names), f"{again} reads these again too, and pays again"]


def failure_lines(failures: Sequence[FailedDocument]) -> list[str]:
    """Return lines that group failures by code and name some of the documents."""
    lines = []
    for code, group in group_by_code(failures).items():
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


def _describe_status(state: TransformState) -> str:
    words = {
        "Completed": "is done",
        # SageMaker fails a job for one document that failed.
        "Failed": "has ended",
        "Stopped": "was stopped",
        "Stopping": "is being stopped",
    }
    return words.get(state.status, "is running")
