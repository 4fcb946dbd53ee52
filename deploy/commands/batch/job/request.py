"""Request for a batch job: the documents of the command as a job to start."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.batch.documents import Batch, build_batch
from deploy.batch.job import (
    MAX_PAYLOAD_MB,
    TransformJob,
    TransformState,
    Work,
    build_transform_model,
)
from deploy.batch.outcome import FailedDocument
from deploy.commands.batch.job.inputs import split_by_access
from deploy.commands.batch.job.watch import SplitFailures, Watch
from deploy.commands.request_options import request_options
from deploy.context import Context
from deploy.documents.document import (
    Document,
    FoundDocuments,
    Refused,
    StoredObject,
    split_uri,
)
from deploy.documents.finding import MANIFESTS
from deploy.documents.objects import S3Objects
from deploy.errors import ConfigError
from deploy.resources import tags_of

__all__ = ["JobRequest", "request_for_input", "request_for_retry"]


@dataclass(frozen=True, slots=True)
class JobRequest:
    """Job that was requested, before it is known whether a document is left to read."""

    job: TransformJob | None
    """Job of the documents; None if none of them can be sent."""
    batch: Batch | None = None
    """Input objects to upload first; None if all of them are in S3 already."""
    refused: Sequence[Refused] = ()
    left_out: Sequence[FailedDocument] = field(default_factory=list)
    """Documents that were requested by name and are in no job."""
    given_up: Sequence[FailedDocument] = ()
    """Documents of `left_out` that failed permanently in the job that is retried."""

    @property
    def documents(self) -> Mapping[str, Document]:
        """Documents by the key of their object, without those of a retry."""
        return {} if self.batch is None else self.batch.documents


def request_for_input(
    context: Context,
    options: argparse.Namespace,
    accept: str,
    documents: FoundDocuments,
) -> JobRequest:
    """Return the request to read the documents found at INPUT into OUTPUT.

    It has no job if all documents are rejected. Raises ConfigError if there is no
    document.
    """
    config, uri = context.config, options.input
    bucket, prefix = split_uri(options.output)
    output = f"s3://{bucket}/{prefix.strip('/')}/" if prefix else f"s3://{bucket}/"
    # Batch transform sends raw documents without options, so these need JSON requests.
    is_manifest = Path(uri).suffix.lower() in MANIFESTS or bool(
        request_options(options)
    )
    kept, refused = split_by_access(config, documents, is_manifest=is_manifest)
    batch = build_batch(
        uri,
        kept,
        deployment=config.name,
        bucket=config.model.bucket,
        is_manifest=is_manifest,
    )
    left_out = [
        FailedDocument(each.source, each.code, each.reason)
        for each in refused
        if each.is_named
    ]
    left_out += [
        FailedDocument(
            document.name,
            "document_too_large",
            f"batch transform sends at most {MAX_PAYLOAD_MB} MB: name it in a "
            "manifest, and the container downloads it",
        )
        for document in batch.too_large
    ]
    if not batch.work and left_out:
        return JobRequest(None, batch, refused, left_out)
    if not batch.work:
        raise ConfigError(
            f"there is no document at {uri} that batch transform would send",
            hint="PDFs and images are read",
        )
    job = _build_job(context, options, batch, output, accept)
    job = replace(job, left_out=tuple(left_out))
    return JobRequest(job, batch, refused, left_out)


def request_for_retry(
    context: Context,
    options: argparse.Namespace,
    state: TransformState,
    watch: Watch,
    failures: SplitFailures,
) -> JobRequest:
    """Return the request to read the documents of an ended job that have no result.

    Documents with a permanent error are left out, unless `--all` is given or they were
    replaced since. The request has no job if no document is left.
    """
    left, given_up = failures.to_retry, failures.given_up
    # No later job has these documents: the new job must list them again.
    left_out = [*watch.left_out]
    retried = (
        set(given_up)
        if options.retry_all
        else _find_replaced(context, watch.prefix, given_up)
    )
    left = (*left, *(work for work in given_up if work in retried))
    still_given_up = [f for work, f in given_up.items() if work not in retried]
    left_out += still_given_up
    if not left:
        return JobRequest(None, left_out=left_out, given_up=still_given_up)
    batch = Batch(watch.prefix, left, state.content_type, documents={})
    job = replace(
        _build_job(context, options, batch, state.output, state.accept),
        environment=state.environment,
        retry_of=state.name,
        left_out=tuple(left_out),
    )
    return JobRequest(job, left_out=left_out, given_up=still_given_up)


def _find_replaced(context: Context, prefix: str, works: Iterable[Work]) -> set[Work]:
    """Return the objects whose contents have changed since the job was made.

    The copies and requests that a job of files or a manifest reads never change.
    """
    ours = {f"{prefix}{work.key}": work for work in works if work.document is None}
    heads = S3Objects(context.aws).head_objects(list(ours))
    return {
        ours[head.uri]
        for head in heads
        if isinstance(head, StoredObject) and head.content_key != ours[head.uri].etag
    }


def _build_job(
    context: Context,
    options: argparse.Namespace,
    batch: Batch,
    output: str,
    accept: str,
) -> TransformJob:
    """Return the job of a batch; raises ConfigError if model.bucket is not set."""
    config, table = context.config, context.config.transform
    if config.model.bucket is None:
        raise ConfigError(
            "model.bucket is not set: the list of a job's objects is stored there",
            hint="set [model] bucket in chandra.toml",
        )
    environment = dict(table.environment)
    if batch.places:
        environment["DOCUMENT_BUCKETS"] = ",".join(batch.places)
    return TransformJob(
        owner=config.name,
        model=build_transform_model(config, context.aws.identity()),
        bucket=config.model.bucket,
        prefix=batch.prefix,
        requested=batch.work,
        work=batch.work,
        output=output,
        accept=accept,
        content_type=batch.content_type,
        instance_type=options.instance_type or table.instance_type,
        timeout_seconds=table.invocation_timeout_seconds,
        max_retries=table.invocation_retries,
        ami=table.ami,
        environment=environment,
        kms_key=config.network.kms_key,
        tags=tags_of(config),
    )
