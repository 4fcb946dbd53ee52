"""Start of a batch job: preflight checks, plan, upload, calls and report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from deploy.batch.documents import workload_of
from deploy.batch.job import TransformJob, TransformState, Work
from deploy.batch.jobs import Transforms
from deploy.batch.planner import find_or_next_job, start
from deploy.batch.sizing import size
from deploy.commands.batch.checks import (
    findings_of,
    price_lines,
    rate_on,
    slow_findings,
)
from deploy.commands.batch.inputs import paged, upload
from deploy.commands.batch.jobs import (
    find_job,
    refuse_another_format,
    transforms_of,
    without_result,
)
from deploy.commands.batch.report import NUM_NAMED, failure_lines, report_summary
from deploy.commands.batch.request import JobRequest
from deploy.commands.batch.watch import summarize_job, watch_job
from deploy.commands.endpoint.apply import (
    refuse_if_fatal,
)
from deploy.context import Context
from deploy.documents.document import Refused
from deploy.errors import Interrupted
from deploy.plan.actions import Action

__all__ = ["start_job"]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Calls that start a job."""

    job: TransformJob
    actions: Sequence[Action]
    data: dict[str, Any]
    """Job, sizing and actions for --json."""


def start_job(
    context: Context, options: argparse.Namespace, request: JobRequest
) -> int:
    """Start the job of a request, wait for it unless told not to, and report it.

    Documents that have a result are left out. If the same job was requested before,
    no other is started. Return the exit status.
    """
    _report_rejected(context, request.refused)
    transforms = transforms_of(context)
    job = find_or_next_job(request.job, transforms, is_forced=options.force)
    if isinstance(job, TransformState):
        return _report_known_job(context, options, job, request)
    work = job.work
    if not options.force and not request.is_retry:
        work = _work_left(context, transforms, job, request)
    if not work:
        return _report_nothing_left(context, job, request)
    plan = _plan(context, options, request, replace(job, work=work))
    upload(context, request.batch, plan.job.work)
    try:
        context.executor().run(plan.actions)
    except Interrupted as interrupted:
        raise Interrupted(
            f"{interrupted.sentence}, and `chandra-sagemaker transform status` its jobs"
        ) from None
    if context.is_dry_run:
        context.console.result(plan.data)
        return 0
    if not options.wait:
        return _report_started(context, plan, request)
    state = find_job(context, plan.job.name)
    summary = watch_job(context, state, timeout_seconds=options.timeout)
    return report_summary(context, summary, left_out=request.left_out)


def _plan(
    context: Context,
    options: argparse.Namespace,
    request: JobRequest,
    job: TransformJob,
) -> _Plan:
    """Choose the machines of a job; raises ConfigError if it would fail."""
    config = context.config
    work = paged(context, request.batch, job.work)
    rate = rate_on(job.instance_type, options.results)
    workload = workload_of(work)
    sizing = size(
        workload,
        job.instance_type,
        rate,
        weights_gb=config.model.weights_gb,
        instance_count=options.instance_count,
        within_hours=options.within,
        max_instances=config.transform.max_instances,
    )
    job = replace(
        job,
        work=work,
        instance_count=sizing.instance_count,
        max_concurrent=sizing.max_concurrent,
        max_payload_mb=sizing.max_payload_mb,
    )
    refuse_if_fatal(
        context,
        [
            *findings_of(context, job, request.batch),
            *slow_findings(job, workload, rate),
        ],
    )
    actions = start(job, has_model=context.account.has_model(job.model.name))
    for line in price_lines(job, sizing, rate, workload.num_pages):
        context.console.say(line)
    data = {
        "job": job.name,
        "documents": len(work),
        "pages_estimate": workload.num_pages,
        "sizing": sizing.to_json(),
        "actions": [action.to_json() for action in actions],
        "refused": [
            {"document": each.source, **each.to_json()} for each in request.refused
        ],
        "left_out": [failure.to_json() for failure in request.left_out],
    }
    return _Plan(job, actions, data)


def _report_rejected(context: Context, rejected: Sequence[Refused]) -> None:
    """Print documents of a folder that are left out.

    Documents that were given by name are reported later, with the failures.
    """
    unnamed = [each for each in rejected if not each.is_named]
    for each in unnamed[:NUM_NAMED]:
        context.console.say(f"left out: {each}")
    if len(unnamed) > NUM_NAMED:
        context.console.say(f"left out: {len(unnamed) - NUM_NAMED} more")


def _work_left(
    context: Context, transforms: Transforms, job: TransformJob, request: JobRequest
) -> tuple[Work, ...]:
    """Return the documents that have no result yet, and print how many have one."""
    documents = None if request.batch is None else request.batch.documents
    results = transforms.results(job.output)
    work = without_result(job.work, results, job.prefix, documents)
    if len(work) < len(job.work):
        refuse_another_format(transforms, job)
    num_there = len(job.work) - len(work)
    if num_there:
        context.console.say(
            f"{num_there} of {len(job.work)} documents have their result in "
            f"{job.output} already: --force reads them again"
        )
    return work


def _report_started(context: Context, plan: _Plan, request: JobRequest) -> int:
    context.console.result(
        plan.data,
        [
            *failure_lines(request.left_out),
            f"transform job {plan.job.name} is on its way",
            f"next: chandra-sagemaker transform wait {plan.job.name}",
        ],
    )
    return 1 if request.left_out else 0


def _report_nothing_left(
    context: Context, job: TransformJob, request: JobRequest
) -> int:
    context.console.result(
        {
            "job": None,
            "documents": len(job.work),
            "read": len(job.work),
            "left_out": [failure.to_json() for failure in request.left_out],
        },
        [
            *failure_lines(request.left_out),
            "nothing is left to read, and nothing to pay",
        ],
    )
    return 1 if request.left_out else 0


def _report_known_job(
    context: Context,
    options: argparse.Namespace,
    state: TransformState,
    request: JobRequest,
) -> int:
    """Report, or follow, the job that the same request started before."""
    if not state.is_changing:
        context.console.say(
            f"transform job {state.name} did this already: --force does it again"
        )
    else:
        context.console.say(f"transform job {state.name} is doing this already")
    if state.is_changing and options.wait and not context.is_dry_run:
        summary = watch_job(context, state, timeout_seconds=options.timeout)
    else:
        summary = summarize_job(context, state)
    return report_summary(context, summary, left_out=request.left_out)
