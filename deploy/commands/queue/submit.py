"""Command `async submit`: put documents into the queue, each once."""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from deploy.commands.command import Command
from deploy.commands.queue.shared import add_ledger_argument, use_ledger
from deploy.commands.request_options import add_request_options, request_options
from deploy.config import DeployConfig
from deploy.console import megabytes
from deploy.context import Context
from deploy.documents.document import (
    AbsenceReason,
    Document,
    FoundDocuments,
    Refused,
    strip_scheme,
)
from deploy.documents.finding import find_documents, find_refused_again
from deploy.documents.objects import S3Objects
from deploy.documents.rejection import describe_hidden_files
from deploy.errors import ConfigError
from deploy.failures import advice_lines
from deploy.queue.endpoint import (
    Exchange,
    async_config,
    estimate_pages_before_timeout,
    get_exchange,
)
from deploy.queue.job import Job
from deploy.queue.ledger import Ledger, select_requested_jobs
from deploy.queue.sender import QueueSender
from deploy.queue.submit import Retry, Submission, SubmissionResult
from deploy.results.formats import ACCEPT
from deploy.results.pages import num_pages_of

NUM_SHOWN = 10
MAX_BYTES = 1024**3
NO_DOCUMENT = "there is no document in it; PDFs and images are read"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="a file, a folder, s3://bucket/prefix, or a manifest NAME.jsonl of lines "
        'such as {"document": "s3://bucket/scan.pdf", "pages": "1-5"}',
    )
    parser.add_argument(
        "--pages",
        metavar="1-3,7",
        help="pages to read from each document (default: all)",
    )
    parser.add_argument(
        "--format",
        choices=tuple(ACCEPT),
        help="format of the results (default json, which `fetch` can write as any "
        "format, and which counts pages)",
    )
    add_request_options(parser)
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="also submit documents that failed, or lack pages, after a transient "
        "error (without INPUT: all in the ledger)",
    )
    parser.add_argument(
        "--retry-all",
        action="store_true",
        help="also submit documents with a permanent error, such as damaged files; "
        "each costs again",
    )
    parser.add_argument(
        "--hidden",
        action="store_true",
        help="include files in folders whose name begins with a dot",
    )
    add_ledger_argument(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    retry = _retry_mode(options)
    if not options.inputs and retry is Retry.NONE:
        raise ConfigError(
            "no INPUT was given", hint="chandra-sagemaker async submit FOLDER"
        )
    has_flags = options.pages or options.format or options.hidden
    if not options.inputs and (has_flags or request_options(options)):
        raise ConfigError(
            "--retry-failed without INPUT sends each document as it was submitted",
            hint="chandra-sagemaker async submit --retry-failed, without other options",
        )
    config, exchange = context.config, get_exchange(context.config)
    endpoint = async_config(config, context.identity).name
    inputs = None
    if options.inputs:
        documents = find_documents(
            options.inputs,
            S3Objects(context.aws),
            options={"pages": options.pages, **request_options(options)},
            accept=ACCEPT[options.format or "json"],
            count=num_pages_of,
            with_hidden=options.hidden,
        )
        inputs = _reject_unreachable(config, exchange, documents)
    with use_ledger(context, options, must_exist=inputs is None) as ledger:
        left: list[Job] = []
        if inputs is None:
            left = [job for job in select_requested_jobs(ledger) if _is_to_send(job)]
            inputs = _find_rejected_again(context, ledger, left, exchange)
            left = [job for job in left if not job.was_refused]
        _note_long_documents(context, inputs)
        if context.is_dry_run:
            return _report_plan(context, retry, ledger, endpoint, inputs, left)
        submission = Submission(
            ledger,
            QueueSender(
                context.aws, endpoint, exchange, kms_key=config.network.kms_key
            ),
            config.asynchronous,
            reads_itself=not config.network.isolation,
            clock=context.clock,
            sleep=context.sleep,
            on_progress=lambda done, total: _print_progress(context, done, total),
        )
        submitted = submission.run(inputs, left, retry=retry)
        _report(context, ledger, endpoint, inputs, submitted)
    is_whole = not submitted.unsent and not any(r.is_named for r in inputs.refused)
    is_tried = retry is Retry.NONE or not submitted.given_up
    return 0 if is_whole and is_tried else 1


def _retry_mode(options: argparse.Namespace) -> Retry:
    if options.retry_all:
        return Retry.ALL
    return Retry.TRANSIENT if options.retry_failed else Retry.NONE


def _find_rejected_again(
    context: Context, ledger: Ledger, left: Sequence[Job], exchange: Exchange
) -> FoundDocuments:
    """Find the documents again that were rejected before they were sent."""
    refused = {job.key: job for job in left if job.was_refused}
    rejected = [
        Refused(
            place.source,
            job.detail or "",
            job.code or "",
            name=place.name,
            options=job.options,
            accept=job.accept,
        )
        for place in ledger.read_places()
        if (job := refused.get(place.key)) is not None
    ]
    inputs = find_refused_again(rejected, S3Objects(context.aws), count=num_pages_of)
    return _reject_unreachable(context.config, exchange, inputs)


def _reject_unreachable(
    config: DeployConfig, exchange: Exchange, inputs: FoundDocuments
) -> FoundDocuments:
    """Move documents that are too large or unreadable to the rejected ones."""
    reachable, refused = [], list(inputs.refused)
    for document in inputs.documents:
        if document.size > MAX_BYTES:
            reason = (
                f"it has {document.size:,} bytes, and SageMaker accepts {MAX_BYTES:,}"
            )
            refused.append(
                Refused.from_document(document, reason, "document_too_large")
            )
        elif not _endpoint_may_read(config, exchange, document):
            reason = (
                "the endpoint may not read its bucket: add it to "
                "asynchronous.sources, then iam --create and async deploy"
            )
            refused.append(
                Refused.from_document(document, reason, AbsenceReason.FORBIDDEN.value)
            )
        else:
            reachable.append(document)
    return replace(inputs, documents=tuple(reachable), refused=tuple(refused))


def _is_to_send(job: Job) -> bool:
    """Return True if a document failed, or was not sent by an earlier command."""
    return job.is_retryable or job.has_failed_permanently or job.is_unsent


def _note_long_documents(context: Context, inputs: FoundDocuments) -> None:
    """Print a note on documents that may take longer than the time limit."""
    most = estimate_pages_before_timeout(context.config)
    if most is None:
        return
    long = [
        d for d in inputs.documents if d.num_pages is not None and d.num_pages > most
    ]
    if long:
        context.console.say(
            f"note: {len(long):,} documents have more than {most:,} pages. If all "
            "concurrent documents are that long, the time limit is reached first "
            "(estimate)"
        )
        context.console.say(
            "  try: a manifest with pages, or asynchronous.concurrency in chandra.toml"
        )


def _endpoint_may_read(
    config: DeployConfig, exchange: Exchange, document: Document
) -> bool:
    """Return whether the endpoint's role may read a document, or it is uploaded."""
    if not document.is_in_s3:
        return True
    own_prefix = f"{exchange.bucket}/{exchange.input_prefix}"
    where = strip_scheme(document.source)
    return any(
        where.startswith(f"{source.rstrip('/')}/")
        for source in (own_prefix, *config.asynchronous.sources)
    )


def _print_progress(context: Context, done: int, total: int) -> None:
    """Print a line for each tenth of many documents."""
    if total >= 10 and done * 10 // total != (done - 1) * 10 // total:
        context.console.say(f"{done:,} of {total:,} documents are in the queue")


def _report_plan(
    context: Context,
    retry: Retry,
    ledger: Ledger,
    endpoint: str,
    inputs: FoundDocuments,
    left: Sequence[Job],
) -> int:
    jobs: list[Job | None] = [*left]
    jobs += [ledger.find_job(document.key) for document in inputs.documents]
    known_jobs = [job for job in jobs if job is not None]
    num_again = sum(job.is_retryable for job in known_jobs)
    num_given_up = sum(job.has_failed_permanently for job in known_jobs)
    num_by_state = Counter("new" if job is None else job.state.value for job in jobs)
    num_read_or_queued = num_by_state["submitted"] + num_by_state["done"]
    num = len(jobs) - num_read_or_queued - num_by_state["failed"]
    num += num_again if retry is not Retry.NONE else 0
    num += num_given_up if retry is Retry.ALL else 0
    known = num_read_or_queued
    if retry is not Retry.NONE:
        known -= sum(job.is_retryable for job in known_jobs if job.is_read)
    size = sum(d.size for d in inputs.documents if not d.is_in_s3)
    pages = "" if inputs.num_pages is None else f" of {inputs.num_pages:,} pages"
    context.console.print_result(
        {
            "endpoint": endpoint,
            "would_submit": num,
            "known": known,
            **_rejections_to_json(inputs),
        },
        [
            f"would submit {num:,} documents{pages} to endpoint {endpoint}",
            f"{known:,} are read or in the queue already; {megabytes(size)} are local",
            *_refused_lines(inputs),
        ],
    )
    return 0


def _report(
    context: Context,
    ledger: Ledger,
    endpoint: str,
    inputs: FoundDocuments,
    submitted: SubmissionResult,
) -> None:
    lines = [f"{submitted.num_sent:,} documents are in the queue of {endpoint}"]
    for number, sentence in (
        (submitted.num_known, "were read or in the queue already"),
        (
            submitted.num_failed,
            "failed earlier with a transient error: add --retry-failed to resend them",
        ),
        (submitted.num_elsewhere, "are being sent by another process"),
    ):
        if number:
            lines.append(f"{number:,} {sentence}")
    lines += [f"not sent: {source}: {why}" for source, why in submitted.unsent.items()]
    lines += _given_up_lines(submitted.given_up)
    lines += [*_refused_lines(inputs), "next: chandra-sagemaker async wait"]
    context.console.print_result(
        {
            "endpoint": endpoint,
            "ledger": ledger.name,
            "submitted": submitted.num_sent,
            "known": submitted.num_known,
            "failed_before": submitted.num_failed,
            "elsewhere": submitted.num_elsewhere,
            "unsent": dict(submitted.unsent),
            "given_up": {job.source: job.code for job in submitted.given_up},
            **_rejections_to_json(inputs),
        },
        lines,
    )


def _rejections_to_json(inputs: FoundDocuments) -> dict[str, Any]:
    return {
        "refused": {each.source: each.to_json() for each in inputs.refused},
        "empty": list(inputs.empty),
        "hidden": inputs.num_hidden,
    }


def _given_up_lines(jobs: Sequence[Job]) -> list[str]:
    if not jobs:
        return []
    by_code: dict[str, list[str]] = defaultdict(list)
    for job in jobs:
        by_code[job.code or ""].append(job.source)
    again = "--retry-all reads these again too, and pays again"
    return [*advice_lines(by_code), again]


def _refused_lines(inputs: FoundDocuments) -> list[str]:
    """Return lines on rejected documents: all named ones, and ten of folders."""
    named = [r for r in inputs.refused if r.is_named]
    rest = [r for r in inputs.refused if not r.is_named]
    shown = named + rest[:NUM_SHOWN]
    lines = [f"left out: {each}" for each in shown]
    if len(rest) > NUM_SHOWN:
        lines.append(f"left out: {len(rest) - NUM_SHOWN:,} more; --json names them all")
    lines += describe_hidden_files(inputs.num_hidden)
    return [*lines, *(f"{each}: {NO_DOCUMENT}" for each in inputs.empty)]


COMMAND = Command(
    run=run,
    description="Submit documents to the queue. Each document is submitted once, "
    "however often the command runs; a ledger records which were.",
    examples=(
        "async submit scans/ s3://inbox/2026/",
        "async submit --retry-failed",
    ),
    add_arguments=add_arguments,
)
