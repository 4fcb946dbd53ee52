"""Multipart upload of one object to S3, which continues an earlier attempt."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from deploy.aws.client import AWSClient

__all__ = ["MIN_PART_BYTES", "StreamedUpload", "Upload"]

MIN_PART_BYTES = 5 * 1024 * 1024


class Upload:
    """Multipart upload of one object, whose parts are added in order.

    It continues the newest unfinished upload of the key. If an exception interrupts it,
    the uploaded parts stay in S3 for the next attempt.
    """

    def __init__(
        self, aws: AWSClient, bucket: str, key: str, properties: Mapping[str, Any]
    ) -> None:
        """Find the unfinished upload of a key and its parts.

        Without one, the first part creates an upload with `properties`. `size` counts
        the bytes that were added.
        """
        self._aws = aws
        self._object = {"Bucket": bucket, "Key": key}
        self._properties = properties
        self.size = 0
        self._parts: list[dict[str, Any]] = []
        self._id: str | None = None
        self._known: dict[int, tuple[int, str]] = {}
        """Size and ETag of the parts in S3, by number."""
        unfinished = [
            item
            for item in aws.pages(
                "s3", "list_multipart_uploads", "Uploads", Bucket=bucket, Prefix=key
            )
            if item["Key"] == key
        ]
        if unfinished:
            unfinished.sort(key=lambda item: item["Initiated"])
            self._id = str(unfinished[-1]["UploadId"])
            self._known = {
                int(part["PartNumber"]): (int(part["Size"]), str(part["ETag"]))
                for part in aws.pages(
                    "s3", "list_parts", "Parts", UploadId=self._id, **self._object
                )
            }

    def add(self, content: bytes) -> None:
        """Add the next part; send it unless S3 has it already.

        If the first part differs, the unfinished upload is aborted and a new one begun.
        """
        number = len(self._parts) + 1
        size, etag = self._known.get(number, (0, ""))
        is_there = (size, etag.strip('"')) == (len(content), _md5(content))
        if number == 1 and self._known and not is_there:
            # The parts hold other bytes, or the object has a KMS key: then an
            # ETag is not an MD5 digest and nothing can be compared.
            self._aws.call(
                "s3", "abort_multipart_upload", UploadId=self._id, **self._object
            )
            self._known = {}
            self._id = None
        if self._id is None:
            created = self._aws.call(
                "s3", "create_multipart_upload", **self._object, **self._properties
            )
            self._id = str(created["UploadId"])
        if not is_there:
            sent = self._aws.call(
                "s3",
                "upload_part",
                UploadId=self._id,
                PartNumber=number,
                Body=content,
                **self._object,
            )
            etag = str(sent["ETag"])
        self._parts.append({"PartNumber": number, "ETag": etag})
        self.size += len(content)

    def finish(self) -> None:
        """Complete the upload, which creates the object."""
        self._aws.call(
            "s3",
            "complete_multipart_upload",
            UploadId=self._id,
            MultipartUpload={"Parts": self._parts},
            **self._object,
        )


class StreamedUpload:
    """Writable stream that uploads its bytes in parts."""

    def __init__(self, upload: Upload, part_bytes: int) -> None:
        self._upload = upload
        self._part_bytes = max(part_bytes, MIN_PART_BYTES)
        self._buffer = bytearray()

    def write(self, content: bytes) -> int:
        """Buffer bytes, and send each part that is full."""
        self._buffer += content
        while len(self._buffer) >= self._part_bytes:
            self._upload.add(bytes(self._buffer[: self._part_bytes]))
            del self._buffer[: self._part_bytes]
        return len(content)

    def finish(self) -> None:
        """Send the last part, which may be small, and complete the upload."""
        if self._buffer or self._upload.size == 0:
            self._upload.add(bytes(self._buffer))
        self._upload.finish()


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
