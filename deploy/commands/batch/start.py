"""Command `transform start`: read all documents of an input."""

from __future__ import annotations

import argparse

from deploy.commands.batch.execute import start_job
from deploy.commands.batch.flags import add_job_arguments, check_job_arguments
from deploy.commands.batch.request import request_for_input
from deploy.commands.command import Command
from deploy.commands.request_options import add_request_options
from deploy.context import Context
from deploy.documents.document import S3
from deploy.errors import ConfigError
from deploy.results.formats import MEDIA_TYPES

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
    check_job_arguments(options)
    if not options.output.startswith(S3):
        raise ConfigError(
            f"OUTPUT must be s3://bucket/prefix, not {options.output}",
            hint="chandra-sagemaker transform start --help",
        )
    request = request_for_input(context, options, ACCEPT[options.format])
    return request if isinstance(request, int) else start_job(context, options, request)


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
