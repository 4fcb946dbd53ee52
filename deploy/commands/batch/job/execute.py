"""Upload and start of a planned batch job, and the lines printed about it."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.batch.job import TransformJob, TransformState
from deploy.commands.batch.job.inputs import upload
from deploy.commands.batch.job.plan import JobPlan, price_lines
from deploy.commands.batch.job.report import NUM_NAMED, failure_lines
from deploy.commands.batch.job.request import JobRequest
from deploy.context import Context
from deploy.documents.document import Refused
from deploy.errors import Interrupted
from deploy.plan.actions import Action

__all__ = [
    "execute_plan",
    "print_finished",
    "print_known_job",
    "print_rejected",
    "report_all_rejected",
    "report_no_work",
    "report_nothing_to_retry",
    "report_started",
]


def print_rejected(context: Context, rejected: Sequence[Refused]) -> None:
    """Print documents of a folder that are left out.

    Documents that were given by name are reported later, with the failures.
    """
    unnamed = [each for each in rejected if not each.is_named]
    for each in unnamed[:NUM_NAMED]:
        context.console.say(f"left out: {each}")
    if len(unnamed) > NUM_NAMED:
        context.console.say(f"left out: {len(unnamed) - NUM_NAMED} more")


def print_finished(context: Context, job: TransformJob, *, num_left: int) -> None:
    """Print how many documents of a job have their result already."""
    context.console.say(
        f"{len(job.work) - num_left} of {len(job.work)} documents have their result in "
        f"{job.output} already: --force reads them again"
    )


def execute_plan(
    context: Context, request: JobRequest, plan: JobPlan, actions: Sequence[Action]
) -> None:
    """Print the price of a job, upload its documents, and start it.

    With --dry-run, print what would be uploaded and called. Raises Interrupted on
    Ctrl-C.
    """
    for line in price_lines(plan):
        context.console.say(line)
    upload(context, request.batch, plan.job.work)
    try:
        context.executor().run(actions)
    except Interrupted as interrupted:
        raise Interrupted(
            f"{interrupted.sentence}; `chandra-sagemaker transform status` lists the "
            "jobs"
        ) from None


def report_started(
    context: Context, request: JobRequest, plan: JobPlan, actions: Sequence[Action]
) -> int:
    """Report a job that was started, or its plan with --dry-run.

    Return the exit status: 1 if the started job leaves documents out, otherwise 0.
    """
    data = plan.to_json(request, actions)
    if context.is_dry_run:
        context.console.print_result(data)
        return 0
    context.console.print_result(
        data,
        [
            *failure_lines(request.left_out),
            f"transform job {plan.job.name} has been started",
            f"next: chandra-sagemaker transform wait {plan.job.name}",
        ],
    )
    return 1 if request.left_out else 0


def report_all_rejected(context: Context, request: JobRequest) -> int:
    """Report that every document of a request was rejected; return exit status 1."""
    context.console.print_result(
        {"job": None, "left_out": [each.to_json() for each in request.left_out]},
        [*failure_lines(request.left_out), "no job was started"],
    )
    return 1


def report_nothing_to_retry(
    context: Context, request: JobRequest, job: str, *, num_documents: int
) -> int:
    """Report that no document of an ended job is left to retry.

    Return the exit status: 1 if documents are left out, otherwise 0.
    """
    context.console.print_result(
        {
            "job": job,
            "documents": num_documents,
            "failed": len(request.given_up),
            "left_out": [each.to_json() for each in request.left_out],
        },
        [
            *failure_lines(request.left_out),
            f"no document of transform job {job} is left to retry"
            if request.left_out
            else f"every document of transform job {job} has its result",
        ],
    )
    return 1 if request.left_out else 0


def report_no_work(context: Context, request: JobRequest, job: TransformJob) -> int:
    """Report that every document has its result, so that no job was started.

    Return the exit status: 1 if documents were left out, otherwise 0.
    """
    context.console.print_result(
        {
            "job": None,
            "documents": len(job.work),
            "read": len(job.work),
            "left_out": [failure.to_json() for failure in request.left_out],
        },
        [
            *failure_lines(request.left_out),
            "no document is left to read, so no job was started",
        ],
    )
    return 1 if request.left_out else 0


def print_known_job(context: Context, state: TransformState) -> None:
    """Print that an earlier command started a job for the same request."""
    if not state.is_changing:
        context.console.say(
            f"transform job {state.name} has read these documents already; --force "
            "reads them again"
        )
    else:
        context.console.say(
            f"transform job {state.name} is already reading these documents"
        )
