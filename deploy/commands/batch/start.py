"""Command `transform start`: read all documents of an input."""

from __future__ import annotations

import argparse
from dataclasses import replace

from deploy.batch.job import TransformState
from deploy.batch.planner import find_or_next_job, plan_start
from deploy.commands.batch.flags import add_job_arguments, check_job_arguments
from deploy.commands.batch.job.checks import check_job
from deploy.commands.batch.job.execute import (
    execute_plan,
    print_finished,
    print_known_job,
    print_rejected,
    report_all_rejected,
    report_no_work,
    report_started,
)
from deploy.commands.batch.job.follow import follow_job
from deploy.commands.batch.job.inputs import estimate_pages
from deploy.commands.batch.job.jobs import (
    find_job,
    refuse_another_format,
    transforms_of,
    without_result,
)
from deploy.commands.batch.job.plan import plan_job
from deploy.commands.batch.job.report import report_summary
from deploy.commands.batch.job.request import request_for_input
from deploy.commands.batch.job.watch import Watch, await_log, summarize_job
from deploy.commands.command import Command
from deploy.commands.endpoint.steps.apply import refuse_if_fatal
from deploy.commands.request_options import add_request_options, request_options
from deploy.context import Context
from deploy.documents.document import S3
from deploy.documents.finding import find_documents
from deploy.documents.objects import S3Objects
from deploy.documents.rejection import describe_hidden_files
from deploy.errors import ConfigError
from deploy.results.formats import MEDIA_TYPES
from deploy.results.pages import num_pages_of

ACCEPT = {name: MEDIA_TYPES[name] for name in ("md", "html", "text", "json")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="s3://bucket/prefix, one object, a local file or folder, or a manifest "
        'NAME.jsonl of lines such as {"document": "s3://bucket/scan.pdf", '
        '"pages": "1-5"}',
    )
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        help="s3://bucket/prefix; each result is named after its document, with .out",
    )
    parser.add_argument(
        "--format",
        choices=tuple(ACCEPT),
        default="md",
        help="format of the results (default md); json has pages, blocks and failures",
    )
    parser.add_argument(
        "--hidden",
        action="store_true",
        help="include files in folders whose name begins with a dot",
    )
    add_request_options(parser)
    add_job_arguments(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    _check_arguments(options)
    accept = ACCEPT[options.format]
    documents = find_documents(
        [options.input],
        S3Objects(context.aws),
        options=request_options(options),
        accept=accept,
        count=num_pages_of,
        with_hidden=options.hidden,
    )
    for line in describe_hidden_files(documents.num_hidden):
        context.console.say(line)
    request = request_for_input(context, options, accept, documents)
    if request.job is None:
        return report_all_rejected(context, request)
    print_rejected(context, request.refused)
    transforms = transforms_of(context)
    job = find_or_next_job(request.job, transforms, is_forced=options.force)
    if isinstance(job, TransformState):
        print_known_job(context, job)
        state = job
        is_followed = job.is_changing and options.wait and not context.is_dry_run
    else:
        work = job.work
        if not options.force:
            results = transforms.list_results(job.output)
            work = without_result(work, results, job.prefix, request.documents)
        if len(work) < len(job.work):
            refuse_another_format(transforms, job)
            print_finished(context, job, num_left=len(work))
        if not work:
            return report_no_work(context, request, job)
        work = estimate_pages(context, request.batch, work)
        plan = plan_job(context, options, replace(job, work=work))
        refuse_if_fatal(context, check_job(context, plan, request.batch))
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


def _check_arguments(options: argparse.Namespace) -> None:
    check_job_arguments(options)
    if not options.output.startswith(S3):
        raise ConfigError(
            f"OUTPUT must be s3://bucket/prefix, not {options.output}",
            hint="chandra-sagemaker transform start --help",
        )


COMMAND = Command(
    run=run,
    description="Start a batch transform job that reads all documents of INPUT, and "
    "wait for it. Documents that already have a result in OUTPUT are left out. The "
    "number of machines follows from the number of pages.",
    examples=(
        "transform start s3://inbox/scans/ s3://results/md/ --dry-run",
        "transform start papers/ s3://results/json/ --format json --within 2",
    ),
    add_arguments=add_arguments,
)
