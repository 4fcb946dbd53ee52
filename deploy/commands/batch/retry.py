"""Command `transform retry`: read the documents of a job that failed."""

from __future__ import annotations

import argparse

from deploy.commands.batch.execute import start_job
from deploy.commands.batch.flags import (
    add_job_argument,
    add_job_arguments,
    check_job_arguments,
)
from deploy.commands.batch.request import request_for_retry
from deploy.commands.command import Command
from deploy.context import Context


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
    request = request_for_retry(context, options)
    return request if isinstance(request, int) else start_job(context, options, request)


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
