"""Command `transform status`: list the jobs, or show one."""

from __future__ import annotations

import argparse

from deploy.commands.batch.job.jobs import find_job, transforms_of
from deploy.commands.batch.job.report import report_summary
from deploy.commands.batch.job.watch import Watch, await_log, summarize_job
from deploy.commands.command import Command
from deploy.console import minute, table
from deploy.context import Context


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "job",
        nargs="?",
        metavar="JOB",
        help="name of a job (default: list all jobs of the deployment)",
    )


def run(context: Context, options: argparse.Namespace) -> int:
    if options.job is not None:
        state = find_job(context, options.job)
        watch = Watch(context, state)
        watch.look()
        await_log(context, watch, state)
        return report_summary(context, summarize_job(context, watch, state))
    jobs = list(transforms_of(context).list_own_jobs())
    rows = [(job.name, job.status, minute(job.created)) for job in jobs]
    context.console.print_result(
        {
            "jobs": [
                {"job": job.name, "status": job.status, "created": job.created}
                for job in jobs
            ]
        },
        table([("JOB", "STATUS", "CREATED"), *rows])
        if rows
        else [f"deployment {context.config.name} has had no transform job"],
    )
    return 0


COMMAND = Command(
    run=run,
    description="List the batch transform jobs of this deployment, or show the "
    "documents, failures, duration and cost of one. Exit status 1 if a document of the "
    "job failed.",
    examples=("transform status", "transform status ocr-0123456789ab --json"),
    add_arguments=add_arguments,
)
