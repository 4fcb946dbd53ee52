"""Command `async fetch`: write results beside documents or into a folder."""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict

from deploy.commands.command import Command
from deploy.commands.fetched import SUCCESSES, fetched_lines
from deploy.commands.queue.shared import (
    add_inputs_argument,
    add_ledger_argument,
    use_ledger,
)
from deploy.context import Context
from deploy.documents.objects import S3Objects
from deploy.documents.targets import parse_destination
from deploy.failures import advice_lines, is_permanent
from deploy.queue.fetch import FetchOutcome, FetchResult, FetchRun, FileStore
from deploy.queue.selection import select_places
from deploy.queue.wait import QueueWaiter
from deploy.results.formats import ACCEPT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inputs_argument(parser)
    parser.add_argument(
        "--into",
        metavar="WHERE",
        help="output folder or s3://bucket/prefix (default: beside each document)",
    )
    parser.add_argument(
        "--format",
        choices=tuple(ACCEPT),
        default="md",
        help="format of the results (default md); a.pdf becomes a.pdf.md, a.pdf.html "
        "or a.pdf.json",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="overwrite files not written by this command",
    )
    add_ledger_argument(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    into = None if options.into is None else parse_destination(options.into)
    objects = S3Objects(context.aws)
    with use_ledger(context, options, must_exist=True) as ledger:
        selection = select_places(ledger, options.inputs, objects)
        if not context.is_dry_run:
            # Record results that have arrived since the last command.
            QueueWaiter(
                ledger,
                objects,
                context.config.asynchronous,
                context.console,
                clock=context.clock,
                sleep=context.sleep,
                select_jobs=selection.select_jobs,
            ).check_once()
        fetched = list(
            FetchRun(
                ledger,
                objects,
                FileStore(),
                objects,
                format=options.format,
                into=into,
                force=options.force,
                is_dry_run=context.is_dry_run,
                is_selected=selection.includes,
            ).run()
        )
    counts = Counter(each.outcome for each in fetched)
    context.console.print_result(
        {
            "outcomes": dict(counts),
            "results": [
                {
                    "document": each.source,
                    "result": each.target,
                    "outcome": each.outcome,
                    "detail": each.detail,
                    "missing_pages": each.missing,
                }
                for each in fetched
            ],
        },
        _lines(fetched, counts, is_dry_run=context.is_dry_run),
    )
    return 0 if context.is_dry_run or set(counts) <= set(SUCCESSES) else 1


def _lines(
    fetched: list[FetchResult], counts: Counter[FetchOutcome], *, is_dry_run: bool
) -> list[str]:
    lines = fetched_lines(fetched, counts, is_dry_run=is_dry_run)
    if counts[FetchOutcome.WAITING]:
        lines.append(
            f"{counts[FetchOutcome.WAITING]:,} are not read yet: "
            "chandra-sagemaker async wait"
        )
    if counts[FetchOutcome.NOT_OURS]:
        lines.append(
            "files that this command did not write were kept: --force overwrites them"
        )
    permanent: dict[str, list[str]] = defaultdict(list)
    for each in fetched:
        if is_permanent(each.code):
            permanent[each.code or ""].append(each.source)
    lines += advice_lines(permanent)
    num_failed = sum(each.code is not None for each in fetched)
    num_transient = num_failed - sum(map(len, permanent.values()))
    if num_transient or counts[FetchOutcome.GONE]:
        lines.append("to try again: chandra-sagemaker async submit --retry-failed")
    return lines


COMMAND = Command(
    run=run,
    description="Write results beside their documents, or into a folder. Exit status 1 "
    "if a result is missing.",
    examples=(
        "async fetch",
        "async fetch scans/ --into results/ --format json",
    ),
    add_arguments=add_arguments,
)
