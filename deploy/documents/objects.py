"""Access to S3: objects as documents, and results beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from mimetypes import guess_type
from typing import Any

from deploy.aws.client import AWSClient
from deploy.concurrency import NUM_SMALL_REQUESTS
from deploy.documents.document import (
    AbsenceReason,
    ArchiveState,
    StoredObject,
    split_uri,
)
from deploy.documents.signatures import (
    HEAD_BYTES,
    TAIL_BYTES,
    Sample,
    media_type_of,
)
from deploy.errors import (
    AccessDeniedError,
    ConflictError,
    DeployError,
    NotFoundError,
)
from deploy.weights.store import SHA256

__all__ = ["S3Objects", "parse_archive_state"]

LISTED_ARCHIVES = {
    "GLACIER": ArchiveState.ARCHIVED,
    "DEEP_ARCHIVE": ArchiveState.ARCHIVED,
    "INTELLIGENT_TIERING": ArchiveState.UNKNOWN,
}
"""Archive state by storage class. Objects in GLACIER_IR can be read at once."""
UNREADABLE = ("(InvalidObjectState)", "(InvalidRequest)")
"""Ends of errors about one object: it was archived, or has a customer's key."""
RESTORING = 'ongoing-request="true"'
RESTORED = 'ongoing-request="false"'


class S3Objects:
    """Access to all buckets of the credentials: reads documents, stores results.

    Implements the protocols `Objects` and `ResultStore`.
    """

    def __init__(self, aws: AWSClient) -> None:
        self._aws = aws

    def list_objects(self, bucket: str, prefix: str) -> Iterator[StoredObject]:
        """Return the objects whose keys start with a prefix, listed as they are read.

        Errors of AWS are raised by the iteration.
        """
        return map(partial(_parse_listed, bucket), self._aws.objects(bucket, prefix))

    def head_objects(self, uris: Sequence[str]) -> list[StoredObject | AbsenceReason]:
        """Return the objects, or why they cannot be read, in the order of the URIs.

        Sends HEAD requests, several at once: a manifest may name ten thousand objects.
        """
        self._aws.client("s3")
        with ThreadPoolExecutor(NUM_SMALL_REQUESTS) as threads:
            return list(threads.map(self._head_object, uris))

    def read_samples(self, items: Sequence[StoredObject]) -> list[Sample | None]:
        """Fetch samples of about a kilobyte each, several at once.

        The sample of an unreadable object is None.
        """
        self._aws.client("s3")
        with ThreadPoolExecutor(NUM_SMALL_REQUESTS) as threads:
            return list(threads.map(self._read_sample, items))

    def read(self, bucket: str, key: str) -> bytes:
        """Return the bytes of an object."""
        answer = self._aws.call("s3", "get_object", Bucket=bucket, Key=key)
        content: bytes = answer["Body"].read()
        return content

    def get_digest(self, target: str) -> str | None:
        """Return the sha256 in the metadata of an object, or its ETag if it has none.

        Returns None if the object does not exist.
        """
        bucket, key = split_uri(target)
        try:
            answer = self._aws.call("s3", "head_object", Bucket=bucket, Key=key)
        except NotFoundError:
            return None
        return str(answer["Metadata"].get(SHA256) or answer["ETag"])

    def write(self, target: str, content: bytes, *, replacing: bool) -> bool:
        """Write an object with its sha256 as metadata.

        Without `replacing`, write nothing and return False if the object exists.
        """
        bucket, key = split_uri(target)
        condition = {} if replacing else {"IfNoneMatch": "*"}
        kind = guess_type(key)[0] or "application/octet-stream"
        try:
            self._aws.call(
                "s3",
                "put_object",
                Bucket=bucket,
                Key=key,
                Body=content,
                ContentType="text/markdown" if key.endswith(".md") else kind,
                Metadata={SHA256: hashlib.sha256(content).hexdigest()},
                **condition,
            )
        except ConflictError:
            return False
        return True

    def remove(self, target: str) -> None:
        """Delete an object if it exists."""
        bucket, key = split_uri(target)
        self._aws.call("s3", "delete_object", Bucket=bucket, Key=key)

    def _head_object(self, uri: str) -> StoredObject | AbsenceReason:
        bucket, key = split_uri(uri)
        try:
            answer = self._aws.call("s3", "head_object", Bucket=bucket, Key=key)
        except NotFoundError:
            return AbsenceReason.NOT_FOUND
        except AccessDeniedError:
            # One denied object must not stop the search for thousands of others.
            return AbsenceReason.FORBIDDEN
        etag = str(answer["ETag"]).strip('"')
        size, modified = int(answer["ContentLength"]), answer["LastModified"]
        return StoredObject(
            bucket, key, size, etag, modified, parse_archive_state(answer)
        )

    def _read_sample(self, item: StoredObject) -> Sample | None:
        try:
            head = self._read_range(item, f"bytes=0-{HEAD_BYTES - 1}")
            tail = b""
            if media_type_of(head) is None:
                tail = self._read_range(item, f"bytes=-{TAIL_BYTES}")
        except (AccessDeniedError, NotFoundError):
            # One denied object must not fail thousands, and the endpoint may be able to
            # read it.
            return None
        except DeployError as error:
            if not error.message.endswith(UNREADABLE):
                raise
            return None
        return Sample(head, tail)

    def _read_range(self, item: StoredObject, byte_range: str) -> bytes:
        answer = self._aws.call(
            "s3", "get_object", Bucket=item.bucket, Key=item.key, Range=byte_range
        )
        content: bytes = answer["Body"].read()
        return content


def _parse_listed(bucket: str, item: Mapping[str, Any]) -> StoredObject:
    """Return an object from a response to ListObjectsV2."""
    return StoredObject(
        bucket,
        item["Key"],
        item["Size"],
        item["ETag"].strip('"'),
        item["LastModified"],
        LISTED_ARCHIVES.get(item.get("StorageClass", "")),
    )


def parse_archive_state(answer: Mapping[str, Any]) -> ArchiveState | None:
    """Return the archive state in a response to HeadObject; None if it is readable now.

    Intelligent-Tiering sets `ArchiveStatus` for objects in its archive tiers.
    """
    class_state = LISTED_ARCHIVES.get(answer.get("StorageClass", ""))
    restore = str(answer.get("Restore", ""))
    if class_state is not ArchiveState.ARCHIVED and not answer.get("ArchiveStatus"):
        return None
    if RESTORING in restore:
        return ArchiveState.RESTORING
    return None if RESTORED in restore else ArchiveState.ARCHIVED
