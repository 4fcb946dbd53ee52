"""Command `transform retry`: read the documents of a job that failed."""

from __future__ import annotations

import argparse

from deploy.batch.job import TransformState
from deploy.batch.planner import find_or_next_job, plan_start
from deploy.commands.batch.flags import (
    add_job_argument,
    add_job_arguments,
    check_job_arguments,
)
from deploy.commands.batch.job.checks import check_job
from deploy.commands.batch.job.execute import (
    execute_plan,
    print_known_job,
    report_nothing_to_retry,
    report_started,
)
from deploy.commands.batch.job.follow import follow_job
from deploy.commands.batch.job.jobs import find_job, transforms_of
from deploy.commands.batch.job.plan import plan_job
from deploy.commands.batch.job.report import given_up_lines, report_summary
from deploy.commands.batch.job.request import request_for_retry
from deploy.commands.batch.job.watch import (
    Watch,
    await_log,
    split_failures,
    summarize_job,
)
from deploy.commands.command import Command
from deploy.commands.endpoint.steps.apply import refuse_if_fatal
from deploy.context import Context
from deploy.errors import ConflictError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_job_argument(parser)
    parser.add_argument(
        "--all",
        action="store_true",
        dest="retry_all",
        help="include documents with a permanent error, such as damaged files",
    )
    add_job_arguments(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    check_job_arguments(options)
    before = find_job(context, options.job)
    if before.is_changing:
        raise ConflictError(
            f"transform job {before.name} is {before.status}: what fails is not known "
            "yet",
            hint=f"chandra-sagemaker transform wait {before.name}",
        )
    watch = Watch(context, before)
    watch.look()
    await_log(context, watch, before)
    request = request_for_retry(context, options, before, watch, split_failures(watch))
    for line in given_up_lines(request.given_up, before.name):
        context.console.say(line)
    if request.job is None:
        return report_nothing_to_retry(
            context, request, before.name, num_documents=len(watch.work)
        )
    job = find_or_next_job(request.job, transforms_of(context), is_forced=options.force)
    if isinstance(job, TransformState):
        print_known_job(context, job)
        state = job
        is_followed = job.is_changing and options.wait and not context.is_dry_run
    else:
        plan = plan_job(context, options, job)
        refuse_if_fatal(context, check_job(context, plan, None))
        has_model = context.account.has_model(plan.job.model.name)
        actions = plan_start(plan.job, has_model=has_model)
        execute_plan(context, request, plan, actions)
        if context.is_dry_run or not options.wait:
            return report_started(context, request, plan, actions)
        state, is_followed = find_job(context, plan.job.name), True
    watch = Watch(context, state)
    if is_followed:
        state = follow_job(context, watch, timeout_seconds=options.timeout)
    else:
        watch.look()
    await_log(context, watch, state)
    summary = summarize_job(context, watch, state)
    return report_summary(context, summary, left_out=request.left_out)


COMMAND = Command(
    run=run,
    description="Start a batch transform job for the documents of JOB that have no "
    "result, or lack pages, after a transient error. Output, format and request "
    "options are those of JOB.",
    examples=(
        "transform retry ocr-0123456789ab",
        "transform retry --all ocr-0123456789ab --no-wait",
    ),
    add_arguments=add_arguments,
)
