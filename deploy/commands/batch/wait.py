"""Command `transform wait`: follow a job to its end."""

from __future__ import annotations

import argparse

from deploy.commands.batch.flags import add_job_argument, add_timeout_argument
from deploy.commands.batch.job.follow import follow_job
from deploy.commands.batch.job.jobs import find_job
from deploy.commands.batch.job.report import report_summary
from deploy.commands.batch.job.watch import Watch, await_log, summarize_job
from deploy.commands.command import Command
from deploy.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_job_argument(parser)
    add_timeout_argument(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    state = find_job(context, options.job)
    watch = Watch(context, state)
    if state.is_changing:
        state = follow_job(context, watch, timeout_seconds=options.timeout)
    else:
        watch.look()
    await_log(context, watch, state)
    return report_summary(context, summarize_job(context, watch, state))


COMMAND = Command(
    run=run,
    description="Show the progress of a job until it has ended, then its summary. "
    "Exit status 1 if a document failed.",
    examples=(
        "transform wait ocr-0123456789ab",
        "transform wait ocr-0123456789ab --timeout 600",
    ),
    add_arguments=add_arguments,
)
