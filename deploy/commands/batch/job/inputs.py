"""Documents of a batch job: access, page estimates, and upload of local files."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deploy.batch.documents import Batch, estimate_work, select_sample
from deploy.batch.job import Work, transforms_prefix
from deploy.config import DeployConfig
from deploy.context import Context
from deploy.documents.document import (
    S3,
    AbsenceReason,
    Document,
    FoundDocuments,
    Refused,
    split_uri,
)
from deploy.documents.objects import S3Objects
from deploy.documents.uploads import put_bodies, upload_files
from deploy.errors import DeployError, Interrupted
from deploy.results.pages import num_pages_of
from deploy.weights.store import Store

__all__ = ["estimate_pages", "split_by_access", "upload"]


def split_by_access(
    config: DeployConfig, documents: FoundDocuments, *, is_manifest: bool
) -> tuple[Sequence[Document], Sequence[Refused]]:
    """Return the documents that the role may read, and the rejected ones.

    Only lines of a manifest are rejected, each by itself. If the user chose the role,
    all documents are returned, because what that role may read is not known.
    """
    if not is_manifest or config.role is not None:
        return documents.documents, documents.refused
    own_prefix = f"{S3}{config.model.bucket}/{transforms_prefix(config.name)}"
    places = (own_prefix, *(f"{S3}{bucket}/" for bucket in config.transform.buckets))
    kept, refused = [], list(documents.refused)
    for document in documents.documents:
        if not document.is_in_s3 or document.source.startswith(places):
            kept.append(document)
            continue
        reason = (
            f"role {config.role_name} may not read its bucket: add it to "
            "transform.buckets, then iam --create"
        )
        refused.append(
            Refused.from_document(document, reason, AbsenceReason.FORBIDDEN.value)
        )
    return kept, refused


def estimate_pages(
    context: Context, batch: Batch | None, work: Sequence[Work]
) -> tuple[Work, ...]:
    """Return documents with page estimates, for which a sample of them is read.

    Documents of a retry, which has no batch, keep the estimates that they have.
    """
    if batch is None:
        return tuple(work)
    batch = replace(batch, work=tuple(work))
    sample = select_sample([batch.documents[each.key] for each in work])
    counts = {}
    if sample:
        context.console.say(
            f"counting the pages of {len(sample)} of {len(work)} documents"
        )
    for document in sample:
        pages = _count_pages(context, document)
        if pages is not None:
            counts[document.source] = pages
    return estimate_work(batch, counts)


def _count_pages(context: Context, document: Document) -> int | None:
    """Return the number of pages; None if it is unknown, or reading is not allowed."""
    if not document.is_in_s3:
        return num_pages_of(Path(document.source))
    bucket, key = split_uri(document.source)
    try:
        content = S3Objects(context.aws).read(bucket, key)
    except DeployError:
        # The user who starts a job may lack the right to read its documents.
        return None
    with tempfile.NamedTemporaryFile(suffix=Path(key).suffix) as file:
        file.write(content)
        file.flush()
        return num_pages_of(Path(file.name))


def upload(context: Context, batch: Batch | None, work: Sequence[Work]) -> None:
    """Upload the local files and JSON requests that a job reads.

    With --dry-run, print how many files would be uploaded. Raises Interrupted on
    Ctrl-C.
    """
    config = context.config
    if batch is None or config.model.bucket is None:
        return
    prefix = batch.prefix.removeprefix(f"s3://{config.model.bucket}/")
    keys = {each.key for each in work}
    bodies = {f"{prefix}{k}": body for k, body in batch.bodies.items() if k in keys}
    sources = {batch.documents[key].source for key in keys}
    files = _files(batch, sources)
    if not files and not bodies:
        return
    if files:
        verb = "would upload" if context.is_dry_run else "uploading"
        size_mb = sum(size for _, size, _ in files.values()) / 1e6
        context.console.say(
            f"{verb} {len(files)} files, {size_mb:,.1f} MB, to s3://"
            f"{config.model.bucket}/{transforms_prefix(config.name)}documents/"
        )
    if context.is_dry_run:
        return
    store = Store(context.aws, config.model.bucket, kms_key=config.network.kms_key)
    # boto3 clients must not be created by several threads at once.
    context.aws.client("s3")
    try:
        upload_files(store, files, context.console.show_progress)
        put_bodies(store, bodies)
    except KeyboardInterrupt:
        raise Interrupted(
            "no job was started; files that have arrived in "
            f"s3://{config.model.bucket}/{transforms_prefix(config.name)} stay there, "
            "and the same command continues from there"
        ) from None


def _files(batch: Batch, sources: set[str]) -> Mapping[str, tuple[Path, int, str]]:
    """Return path, size in bytes and digest of local files, by their keys."""
    return {
        key: (Path(document.source), document.size, document.content_key)
        for key, document in batch.files.items()
        if document.source in sources
    }
