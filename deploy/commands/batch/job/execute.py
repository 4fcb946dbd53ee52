"""Upload and start of a planned batch job, and the lines printed about it."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.batch.job import TransformJob, TransformState
from deploy.commands.batch.job.inputs import upload
from deploy.commands.batch.job.plan import JobPlan, price_lines
from deploy.commands.batch.job.report import failure_lines
from deploy.commands.batch.job.request import JobRequest
from deploy.context import Context
from deploy.errors import Interrupted
from deploy.plan.actions import Action

__all__ = [
    "execute_plan",
    "print_finished",
    "print_known_job",
    "report_no_work",
    "report_started",
]


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
            f"{interrupted.sentence}, and `chandra-sagemaker transform status` its jobs"
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
            f"transform job {plan.job.name} is on its way",
            f"next: chandra-sagemaker transform wait {plan.job.name}",
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
            f"transform job {state.name} did this already: --force does it again"
        )
    else:
        context.console.say(f"transform job {state.name} is doing this already")
