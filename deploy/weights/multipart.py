"""One object into S3 in parts, on from where an earlier attempt ended."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from deploy.aws.client import AWSClient

__all__ = ["MIN_PART_BYTES", "StreamedUpload", "Upload"]

MIN_PART_BYTES = 5 * 1024 * 1024


class Upload:
    """Parts one after the other. What broke off stays, for the next attempt."""

    def __init__(
        self, aws: AWSClient, bucket: str, key: str, properties: Mapping[str, Any]
    ) -> None:
        self._aws = aws
        self._object = {"Bucket": bucket, "Key": key}
        self._properties = properties
        self.size = 0
        begun = self._begun()
        self._known = self._parts_of(begun) if begun else {}
        self._id = begun or self._begin()
        self._parts: list[dict[str, Any]] = []

    def add(self, content: bytes) -> None:
        """The next part; sent unless it is there."""
        number = len(self._parts) + 1
        size, etag = self._known.get(number, (0, ""))
        is_there = (size, etag.strip('"')) == (len(content), _md5(content))
        if number == 1 and self._known and not is_there:
            # Of other bytes, and its metadata say so; or under a KMS key, where an
            # ETag is no MD5 and nothing can be compared.
            self._call("abort_multipart_upload", UploadId=self._id)
            self._known = {}
            self._id = self._begin()
        if not is_there:
            sent = self._call(
                "upload_part", UploadId=self._id, PartNumber=number, Body=content
            )
            etag = str(sent["ETag"])
        self._parts.append({"PartNumber": number, "ETag": etag})
        self.size += len(content)

    def finish(self) -> None:
        self._call(
            "complete_multipart_upload",
            UploadId=self._id,
            MultipartUpload={"Parts": self._parts},
        )

    def _begin(self) -> str:
        answer = self._call("create_multipart_upload", **self._properties)
        return str(answer["UploadId"])

    def _begun(self) -> str | None:
        """The newest attempt at this key that was not finished."""
        found = [
            item
            for item in self._aws.pages(
                "s3",
                "list_multipart_uploads",
                "Uploads",
                Bucket=self._object["Bucket"],
                Prefix=self._object["Key"],
            )
            if item["Key"] == self._object["Key"]
        ]
        found.sort(key=lambda item: item["Initiated"])
        return str(found[-1]["UploadId"]) if found else None

    def _parts_of(self, upload: str) -> dict[int, tuple[int, str]]:
        """Their sizes and ETags by number."""
        return {
            int(part["PartNumber"]): (int(part["Size"]), str(part["ETag"]))
            for part in self._aws.pages(
                "s3", "list_parts", "Parts", UploadId=upload, **self._object
            )
        }

    def _call(self, operation: str, **params: Any) -> dict[str, Any]:
        return self._aws.call("s3", operation, **self._object, **params)


class StreamedUpload:
    """Written to from the front to the back, by whoever knows no parts."""

    def __init__(self, upload: Upload, part_bytes: int) -> None:
        self._upload = upload
        self._part_bytes = max(part_bytes, MIN_PART_BYTES)
        self._buffer = bytearray()

    def write(self, content: bytes) -> int:
        self._buffer += content
        while len(self._buffer) >= self._part_bytes:
            self._upload.add(bytes(self._buffer[: self._part_bytes]))
            del self._buffer[: self._part_bytes]
        return len(content)

    def finish(self) -> None:
        """Only the last part may be a small one."""
        if self._buffer or self._upload.size == 0:
            self._upload.add(bytes(self._buffer))
        self._upload.finish()


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
