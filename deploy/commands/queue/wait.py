"""Command `async wait`: progress until every document is read or has failed."""

from __future__ import annotations

import argparse

from deploy.commands.command import Command
from deploy.commands.queue.shared import (
    add_inputs_argument,
    add_ledger_argument,
    use_ledger,
)
from deploy.context import Context
from deploy.documents.objects import S3Objects
from deploy.failures import advice_lines
from deploy.queue.selection import select_places
from deploy.queue.wait import Progress, QueueWaiter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inputs_argument(parser)
    parser.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="stop waiting after SECONDS, with exit status 7; the queue continues "
        "(default: no limit)",
    )
    add_ledger_argument(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    with use_ledger(context, options, must_exist=True) as ledger:
        objects = S3Objects(context.aws)
        selection = select_places(ledger, options.inputs, objects)
        waiting = QueueWaiter(
            ledger,
            objects,
            context.config.asynchronous,
            context.console,
            clock=context.clock,
            sleep=context.sleep,
            select_jobs=selection.select_jobs,
        )
        if context.is_dry_run:
            progress = Progress.from_jobs(list(selection.select_jobs(ledger)))
            lines = [f"would wait for {progress.num_waiting:,}: {progress.sentence}"]
        else:
            progress = waiting.run(options.timeout)
            lines = [progress.sentence, *_next_lines(progress)]
        context.console.print_result(
            {"ledger": ledger.name, **progress.to_json()}, lines
        )
    if context.is_dry_run:
        return 0
    return 1 if progress.num_failed or progress.num_unsent else 0


def _next_lines(progress: Progress) -> list[str]:
    lines = ["next: chandra-sagemaker async fetch"]
    if progress.num_unsent:
        lines.append(
            f"{progress.num_unsent:,} were never sent: run the same async submit again"
        )
    if progress.num_in_part:
        lines.append(
            f"{progress.num_in_part:,} were read in part, after a transient error"
        )
    lines += advice_lines(progress.permanent)
    if progress.num_transient or progress.num_in_part:
        lines.append("to try again: chandra-sagemaker async submit --retry-failed")
    return lines


COMMAND = Command(
    run=run,
    description="Show documents, pages, pages per second and failures until every "
    "document is read or has failed. Exit status 1 if a document failed.",
    examples=(
        "async wait",
        "async wait scans/ --timeout 600",
    ),
    add_arguments=add_arguments,
)
