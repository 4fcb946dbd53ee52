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
    "batch_from",
    "estimate_work",
    "select_sample",
    "workload_of",
]

JSON = "application/json"
MAX_BYTES = MAX_PAYLOAD_MB * 1024 * 1024
NUM_SAMPLED = 16
# Samples are downloaded, so their sizes are limited, alone and together.
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
    """Buckets, or bucket/prefix, that the container itself has to read."""
    too_large: tuple[Document, ...] = ()
    """Documents above the payload limit of batch transform."""


def batch_from(
    uri: str,
    documents: Sequence[Document],
    *,
    deployment: str,
    bucket: str | None,
    is_manifest: bool,
) -> Batch:
    """Return the input objects for the documents at `uri`.

    `bucket` is `model.bucket`. Raises ConfigError if it is needed and not set.
    """
    if is_manifest:
        return _of_requests(documents, deployment, _require_bucket(bucket))
    sendable = [document for document in documents if document.size <= MAX_BYTES]
    too_large = tuple(document for document in documents if document.size > MAX_BYTES)
    if all(document.is_stored for document in documents):
        prefix = common_prefix(uri, [document.source for document in documents])
        keyed = {each.source.removeprefix(prefix): each for each in sendable}
        files: dict[str, Document] = {}
    else:
        below = f"{transforms_prefix(deployment)}documents/"
        prefix = f"s3://{_require_bucket(bucket)}/{below}"
        keyed = {_address(each): each for each in sendable}
        files = {f"{below}{key}": each for key, each in keyed.items()}
    types = {document.media_type for document in sendable}
    return Batch(
        prefix=prefix,
        work=tuple(_work(key, each) for key, each in sorted(keyed.items())),
        # A job has one content type. Without it, the server detects types by the bytes.
        content_type=types.pop() if len(types) == 1 else UNKNOWN_TYPE,
        documents=keyed,
        files=files,
        too_large=too_large,
    )


def _of_requests(documents: Sequence[Document], deployment: str, bucket: str) -> Batch:
    ours = transforms_prefix(deployment)
    keyed, bodies, files, places = {}, {}, {}, set()
    work = []
    for document in documents:
        source = document.source
        if not document.is_stored:
            address = f"{ours}documents/{_address(document)}"
            files[address] = document
            source = f"s3://{bucket}/{address}"
            places.add(f"{bucket}/{ours}documents")
        else:
            places.add(split_uri(source)[0])
        key = f"{document.key[:12]}/{document.name}"
        # ASCII escapes would count sixfold towards the service's limit for an option.
        members = {"s3_uri": source, **document.options}
        body = json.dumps(members, ensure_ascii=False).encode()
        keyed[key], bodies[key] = document, body
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
        prefix=f"s3://{bucket}/{ours}requests/",
        work=tuple(sorted(work, key=lambda each: each.key)),
        content_type=JSON,
        documents=keyed,
        bodies=bodies,
        files=files,
        places=tuple(sorted(places)),
    )


def select_sample(documents: Sequence[Document]) -> list[Document]:
    """Return at most 16 documents whose pages to count, spread over the unknown ones.

    Large documents, and those after which the sample would be too large, are left out.
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
    """Return the work with a number of pages for each document.

    `counts` has the pages of a sample by source. Other documents are assumed to have
    the mean of the sample, or pages of `PAGE_BYTES`.
    """
    mean = sum(counts.values()) / len(counts) if counts else None
    work = []
    for each in batch.work:
        document = batch.documents[each.key]
        pages = document.num_pages
        if pages is None:
            pages = counts.get(document.source)
        if pages is None:
            pages = round(mean or document.size / PAGE_BYTES)
        work.append(replace(each, num_pages=max(1, pages)))
    return tuple(work)


def workload_of(work: Sequence[Work]) -> JobWorkload:
    """Return the totals of the work that determine the machines."""
    return JobWorkload(
        num_documents=len(work),
        num_pages=sum(each.num_pages for each in work),
        largest_bytes=max(each.size for each in work),
        longest_pages=max(each.num_pages for each in work),
    )


def _require_bucket(bucket: str | None) -> str:
    if bucket is None:
        raise ConfigError(
            "model.bucket is not set: the manifest, files and requests of a job are "
            "stored there",
            hint="set [model] bucket in chandra.toml",
        )
    return bucket


def _work(key: str, document: Document) -> Work:
    digest = None if document.is_stored else document.content[:16]
    return Work(key, document.content, document.name, document.size, document=digest)


def _address(document: Document) -> str:
    """Return the key of a file: other contents are another object and result."""
    return f"{document.content[:12]}/{document.name}"


def _digest(uri: str) -> str:
    return hashlib.sha256(uri.encode()).hexdigest()[:16]
