"""Command `transform fetch`: write results under the names of their documents."""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from deploy.batch.job import TransformState, Work, list_possible_outputs
from deploy.batch.outcome import FailedDocument
from deploy.commands.batch.job.jobs import find_job, transforms_of
from deploy.commands.batch.job.report import failure_lines
from deploy.commands.command import Command
from deploy.commands.fetched import SUCCESSES, fetched_lines
from deploy.context import Context
from deploy.documents.document import S3
from deploy.documents.naming import to_storable_name
from deploy.documents.objects import S3Objects
from deploy.documents.targets import (
    assign_targets,
    parse_destination,
    to_portable_name,
)
from deploy.errors import NotFoundError
from deploy.queue.fetch import FetchOutcome, FetchResult, FileStore, ResultStore
from deploy.results.formats import SUFFIXES
from deploy.results.parse import page_errors


@dataclass(frozen=True, slots=True)
class _Result:
    """Document of a job, and where its result is to be written."""

    state: TransformState
    work: Work
    key: str | None
    """Below the job's output; None: there is no result."""
    target: str = field(default="")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "jobs",
        nargs="+",
        metavar="JOB",
        help="name of a job, as `transform status` lists it",
    )
    parser.add_argument(
        "--into",
        required=True,
        metavar="WHERE",
        help="output folder or s3://bucket/prefix, where a.pdf becomes a.pdf.md",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="overwrite files with other contents",
    )


def run(context: Context, options: argparse.Namespace) -> int:
    """Write results; return 1 if one is missing or could not be written."""
    into = parse_destination(options.into)
    transforms = transforms_of(context)
    states = [find_job(context, name) for name in dict.fromkeys(options.jobs)]
    results = _assign_targets(
        [r for state in states for r in _find_results(context, state)], into
    )
    # Jobs of one manifest lack the same documents.
    left_out = list(
        dict.fromkeys(
            each for state in states for each in transforms.read_left_out(state)
        )
    )
    store: ResultStore = S3Objects(context.aws) if into.startswith(S3) else FileStore()
    fetched = [_fetch(context, options, store, each) for each in results]
    counts = Counter(each.outcome for each in fetched)
    context.console.print_result(
        {
            "jobs": [state.name for state in states],
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
            "left_out": [each.to_json() for each in left_out],
        },
        _result_lines(fetched, left_out, states, is_dry_run=context.is_dry_run),
    )
    is_whole = set(counts) <= set(SUCCESSES) and not left_out
    return 0 if context.is_dry_run or is_whole else 1


def _find_results(context: Context, state: TransformState) -> list[_Result]:
    transforms = transforms_of(context)
    prefix, work = transforms.read_work(state)
    results = transforms.list_results(state.output)
    return [
        _Result(
            state,
            each,
            next(
                (
                    key
                    for key in list_possible_outputs(each.key, prefix)
                    if key in results
                ),
                None,
            ),
        )
        for each in work
    ]


def _assign_targets(results: Sequence[_Result], into: str) -> list[_Result]:
    """Return the results with targets named after their documents.

    Of two results of one document, that of the later job counts.
    """
    latest = {(each.state.output, each.work.key): each for each in results}
    ids = {
        hashlib.sha256("\n".join(place).encode()).hexdigest()[:32]: each
        for place, each in latest.items()
    }
    names = assign_targets(
        {
            identity: to_portable_name(to_storable_name(each.work.name))
            for identity, each in ids.items()
        }
    )
    return [
        _Result(
            each.state,
            each.work,
            each.key,
            f"{into.rstrip('/')}/{names[identity]}."
            f"{SUFFIXES.get(each.state.accept, 'out')}",
        )
        for identity, each in ids.items()
    ]


def _fetch(
    context: Context, options: argparse.Namespace, store: ResultStore, result: _Result
) -> FetchResult:
    """Read a result and write it to its target; return the outcome."""
    name, target = result.work.name, result.target
    if result.key is None:
        is_waiting = result.state.is_changing
        return FetchResult(
            name, None, FetchOutcome.WAITING if is_waiting else FetchOutcome.FAILED
        )
    try:
        body = transforms_of(context).read_result(result.state.output, result.key)
    except NotFoundError:
        return FetchResult(name, target, FetchOutcome.GONE)
    errors = page_errors(body, result.state.accept)
    missing = {error["page"]: error["code"] for error in errors}
    try:
        outcome = _write(
            store, target, body, force=options.force, dry=context.is_dry_run
        )
    except OSError as error:
        return FetchResult(name, target, FetchOutcome.NOT_WRITTEN, error.strerror)
    return FetchResult(name, target, outcome, missing=missing)


def _write(
    store: ResultStore, target: str, body: bytes, *, force: bool, dry: bool
) -> FetchOutcome:
    """Write a result; keep a file with other contents, unless forced.

    There is no record of fetched files, so such a file may belong to the user.
    """
    digest = store.get_digest(target)
    if digest == hashlib.sha256(body).hexdigest():
        return FetchOutcome.UNCHANGED
    if digest is not None and not force:
        return FetchOutcome.NOT_OURS
    if dry or store.write(target, body, replacing=digest is not None):
        return FetchOutcome.WRITTEN
    return FetchOutcome.NOT_OURS


def _result_lines(
    fetched: Sequence[FetchResult],
    left_out: Sequence[FailedDocument],
    states: Sequence[TransformState],
    *,
    is_dry_run: bool,
) -> list[str]:
    counts = Counter(each.outcome for each in fetched)
    lines = fetched_lines(fetched, counts, is_dry_run=is_dry_run)
    lines += failure_lines(left_out)
    if counts[FetchOutcome.NOT_OURS]:
        lines.append("files with other contents were kept: --force overwrites them")
    if counts[FetchOutcome.WAITING]:
        lines.append(f"{counts[FetchOutcome.WAITING]:,} are not read yet")
    if counts[FetchOutcome.WAITING] or counts[FetchOutcome.FAILED]:
        names = " and ".join(state.name for state in states)
        lines.append(f"next: chandra-sagemaker transform status {names} shows why")
    return lines


COMMAND = Command(
    run=run,
    description="Write the results of jobs into a folder or to S3, named after their "
    "documents. Exit status 1 if a document has no result.",
    examples=(
        "transform fetch ocr-0123456789ab --into results/",
        "transform fetch ocr-0123456789ab --into s3://results/named/ --force",
    ),
    add_arguments=add_arguments,
)
