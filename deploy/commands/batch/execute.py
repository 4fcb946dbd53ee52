"""How `transform` starts a job: what is left to read, what it takes, what it costs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from deploy.batch.documents import workload_of
from deploy.batch.job import TransformJob, TransformState, Work
from deploy.batch.jobs import Transforms
from deploy.batch.planner import known_or_next, start
from deploy.batch.sizing import size
from deploy.commands.batch.checks import (
    findings_of,
    price_lines,
    rate_on,
    slow_findings,
)
from deploy.commands.batch.inputs import paged, upload
from deploy.commands.batch.jobs import (
    found,
    refuse_another_format,
    results_of,
    transforms_of,
    without_result,
)
from deploy.commands.batch.report import NUM_NAMED, failure_lines, report_summary
from deploy.commands.batch.request import WantedJob
from deploy.commands.batch.watch import summed_up, watched
from deploy.commands.wanted import refuse_if_fatal
from deploy.context import Context
from deploy.documents.document import Refused
from deploy.errors import Interrupted

__all__ = ["started"]


def started(context: Context, options: argparse.Namespace, wanted: WantedJob) -> int:
    """Those documents read that have no result yet; joined where a job reads them."""
    config = context.config
    _say_refused(context, wanted.refused)
    transforms = transforms_of(context)
    job = known_or_next(wanted.job, transforms, is_forced=options.force)
    if isinstance(job, TransformState):
        return _again(context, options, job, wanted)
    work = job.work
    if not options.force and not wanted.is_retry:
        work = _left(context, transforms, job, wanted)
    if not work:
        return _nothing_left(context, job, wanted)
    work = paged(context, wanted.batch, work)
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
            *findings_of(context, job, wanted.batch),
            *slow_findings(job, workload, rate),
        ],
    )
    actions = start(job, transforms)
    for line in price_lines(job, sizing, rate, workload.num_pages):
        context.console.say(line)
    data = {
        "job": job.name,
        "documents": len(work),
        "pages_estimate": workload.num_pages,
        "sizing": sizing.to_json(),
        "actions": [action.to_json() for action in actions],
        "refused": [
            {"document": each.source, **each.to_json()} for each in wanted.refused
        ],
        "left_out": [failure.to_json() for failure in wanted.left_out],
    }
    upload(context, wanted.batch, work)
    try:
        context.run(actions)
    except Interrupted as interrupted:
        raise Interrupted(
            f"{interrupted.sentence}, and `chandra-sagemaker transform status` its jobs"
        ) from None
    if context.is_dry_run:
        context.console.result(data)
        return 0
    if not options.wait:
        context.console.result(
            data,
            [
                *failure_lines(wanted.left_out),
                f"transform job {job.name} is on its way",
                f"next: chandra-sagemaker transform wait {job.name}",
            ],
        )
        return 1 if wanted.left_out else 0
    summary = watched(
        context, found(context, job.name), timeout_seconds=options.timeout
    )
    return report_summary(context, summary, left_out=wanted.left_out)


def _say_refused(context: Context, refused: Sequence[Refused]) -> None:
    """Of what lay in a folder; who was asked for by name is told with the failures."""
    unnamed = [each for each in refused if not each.is_named]
    for each in unnamed[:NUM_NAMED]:
        context.console.say(f"left out: {each}")
    if len(unnamed) > NUM_NAMED:
        context.console.say(f"left out: {len(unnamed) - NUM_NAMED} more")


def _left(
    context: Context, transforms: Transforms, job: TransformJob, wanted: WantedJob
) -> tuple[Work, ...]:
    """What has no result yet; says how much has."""
    documents = None if wanted.batch is None else wanted.batch.documents
    results = results_of(transforms, job.output)
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


def _nothing_left(context: Context, job: TransformJob, wanted: WantedJob) -> int:
    context.console.result(
        {
            "job": None,
            "documents": len(job.work),
            "read": len(job.work),
            "left_out": [failure.to_json() for failure in wanted.left_out],
        },
        [
            *failure_lines(wanted.left_out),
            "nothing is left to read, and nothing to pay",
        ],
    )
    return 1 if wanted.left_out else 0


def _again(
    context: Context,
    options: argparse.Namespace,
    state: TransformState,
    wanted: WantedJob,
) -> int:
    """The same was asked for before."""
    if not state.is_changing:
        context.console.say(
            f"transform job {state.name} did this already: --force does it again"
        )
        return report_summary(
            context, summed_up(context, state), left_out=wanted.left_out
        )
    context.console.say(f"transform job {state.name} is doing this already")
    if context.is_dry_run or not options.wait:
        return report_summary(
            context, summed_up(context, state), left_out=wanted.left_out
        )
    summary = watched(context, state, timeout_seconds=options.timeout)
    return report_summary(context, summary, left_out=wanted.left_out)
