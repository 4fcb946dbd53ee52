"""Conversion of documents into the input objects of a batch transform job.

Each object holds one document, so that each document fails alone. Objects below one
prefix are read where they are. Files are uploaded below a prefix in `model.bucket`,
under the digest of their contents. Documents of a manifest become requests of a few
bytes, `{"s3_uri": "s3://…", "pages": "1-5"}`, and the container downloads the documents
itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from deploy.batch.job import MAX_PAYLOAD_MB, Work, common_prefix, transforms_prefix
from deploy.batch.sizing import JobWorkload
from deploy.documents.document import UNKNOWN_TYPE, Document, split_uri
from deploy.errors import ConfigError

__all__ = [
    "JSON",
    "Batch",
    "build_batch",
    "estimate_work",
    "select_sample",
    "sum_workload",
]

JSON = "application/json"
MAX_BYTES = MAX_PAYLOAD_MB * 1024 * 1024
NUM_SAMPLED = 16
# Samples are downloaded, so the size of each and of all together is limited.
MAX_SAMPLED_BYTES = 32 * 1024 * 1024
MAX_SAMPLE_BYTES = 100 * 1024 * 1024
# Estimate if no pages could be counted: scans have more bytes per page, text fewer.
PAGE_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class Batch:
    """Input of one batch transform job."""

    prefix: str
    """Prefix of the objects, as s3://bucket/prefix/."""
    work: tuple[Work, ...]
    content_type: str
    documents: Mapping[str, Document]
    """Documents by the key of their object, relative to the prefix."""
    bodies: Mapping[str, bytes] = field(default_factory=dict)
    """Request bodies to upload below the prefix, by key."""
    files: Mapping[str, Document] = field(default_factory=dict)
    """Files to upload into `model.bucket`, by their full key."""
    places: tuple[str, ...] = ()
    """Buckets, or bucket/prefix, from which the container itself downloads documents.
    """
    too_large: tuple[Document, ...] = ()
    """Documents above the payload limit of batch transform."""


def build_batch(
    uri: str,
    documents: Sequence[Document],
    *,
    deployment: str,
    bucket: str | None,
    is_manifest: bool,
) -> Batch:
    """Build the input of a job from the documents at `uri`; upload nothing.

    Documents of a manifest become requests. Objects are read below their common prefix.
    Local files are to be uploaded. `deployment` is the name of the deployment, `bucket`
    is `model.bucket`. Raises ConfigError if the bucket is needed and not set.
    """
    if is_manifest:
        return _build_request_batch(documents, deployment, _require_bucket(bucket))
    sendable = [document for document in documents if document.size <= MAX_BYTES]
    too_large = tuple(document for document in documents if document.size > MAX_BYTES)
    if all(document.is_in_s3 for document in documents):
        prefix = common_prefix(uri, [document.source for document in documents])
        documents_by_key = {
            document.source.removeprefix(prefix): document for document in sendable
        }
        files: dict[str, Document] = {}
    else:
        upload_prefix = f"{transforms_prefix(deployment)}documents/"
        prefix = f"s3://{_require_bucket(bucket)}/{upload_prefix}"
        documents_by_key = {_build_key(document): document for document in sendable}
        files = {
            f"{upload_prefix}{key}": document
            for key, document in documents_by_key.items()
        }
    types = {document.media_type for document in sendable}
    return Batch(
        prefix=prefix,
        work=tuple(
            _build_work(key, document)
            for key, document in sorted(documents_by_key.items())
        ),
        # A job has one content type. Without it, the server detects types by the bytes.
        content_type=types.pop() if len(types) == 1 else UNKNOWN_TYPE,
        documents=documents_by_key,
        files=files,
        too_large=too_large,
    )


def _build_request_batch(
    documents: Sequence[Document], deployment: str, bucket: str
) -> Batch:
    """Build the input of a job whose objects are requests of one document each."""
    prefix = transforms_prefix(deployment)
    documents_by_key, bodies, files, places = {}, {}, {}, set()
    work = []
    for document in documents:
        source = document.source
        if not document.is_in_s3:
            upload_key = f"{prefix}documents/{_build_key(document)}"
            files[upload_key] = document
            source = f"s3://{bucket}/{upload_key}"
            places.add(f"{bucket}/{prefix}documents")
        else:
            places.add(split_uri(source)[0])
        key = f"{document.key[:12]}/{document.name}"
        # ASCII escapes would count sixfold towards the service's limit for an option.
        members = {"s3_uri": source, **document.options}
        body = json.dumps(members, ensure_ascii=False).encode()
        documents_by_key[key], bodies[key] = document, body
        work.append(
            Work(
                key,
                document.key,
                document.name,
                len(body),
                document=_digest(source),
            )
        )
    return Batch(
        prefix=f"s3://{bucket}/{prefix}requests/",
        work=tuple(sorted(work, key=lambda item: item.key)),
        content_type=JSON,
        documents=documents_by_key,
        bodies=bodies,
        files=files,
        places=tuple(sorted(places)),
    )


def select_sample(documents: Sequence[Document]) -> list[Document]:
    """Return at most 16 documents whose pages to count, spread over the unknown ones.

    Documents above `MAX_SAMPLED_BYTES` are left out, and those with which the sample
    would have more than `MAX_SAMPLE_BYTES`.
    """
    unknown = [
        each
        for each in documents
        if each.num_pages is None and each.size <= MAX_SAMPLED_BYTES
    ]
    count = min(NUM_SAMPLED, len(unknown))
    chosen: list[Document] = []
    for each in (unknown[i * len(unknown) // count] for i in range(count)):
        if sum(document.size for document in chosen) + each.size <= MAX_SAMPLE_BYTES:
            chosen.append(each)
    return chosen


def estimate_work(batch: Batch, counts: Mapping[str, int]) -> tuple[Work, ...]:
    """Return the work of a batch with a number of pages for each document.

    `counts` has the pages of a sample by source. A document with an unknown number is
    assumed to have the mean of the sample, or without a sample one page for each
    `PAGE_BYTES`.
    """
    mean_pages = sum(counts.values()) / len(counts) if counts else None
    work = []
    for item in batch.work:
        document = batch.documents[item.key]
        pages = document.num_pages
        if pages is None:
            pages = counts.get(document.source)
        if pages is None:
            pages = round(mean_pages or document.size / PAGE_BYTES)
        work.append(replace(item, num_pages=max(1, pages)))
    return tuple(work)


def sum_workload(work: Sequence[Work]) -> JobWorkload:
    """Return the totals of the work, by which the machines are chosen.

    `work` must not be empty.
    """
    return JobWorkload(
        num_documents=len(work),
        num_pages=sum(item.num_pages for item in work),
        largest_bytes=max(item.size for item in work),
        longest_pages=max(item.num_pages for item in work),
    )


def _require_bucket(bucket: str | None) -> str:
    """Return the bucket; raises ConfigError if it is None."""
    if bucket is None:
        raise ConfigError(
            "model.bucket is not set: the manifest, files and requests of a job are "
            "stored there",
            hint="set [model] bucket in chandra.toml",
        )
    return bucket


def _build_work(key: str, document: Document) -> Work:
    digest = None if document.is_in_s3 else document.content_key[:16]
    return Work(
        key, document.content_key, document.name, document.size, document=digest
    )


def _build_key(document: Document) -> str:
    """Return the key of a file, which begins with a digest of its contents.

    A file with changed contents is another object with another result.
    """
    return f"{document.content_key[:12]}/{document.name}"


def _digest(uri: str) -> str:
    return hashlib.sha256(uri.encode()).hexdigest()[:16]
