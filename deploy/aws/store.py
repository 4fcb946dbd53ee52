"""Large files into S3: in parts, and on from where a first attempt ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.aws.client import AWSClient
from deploy.errors import NotFoundError, ResourceFailedError
from deploy.weights import MANIFEST, Weights, is_same, manifest_of

__all__ = ["Store", "StreamedUpload"]

PART_BYTES = 64 * 1024 * 1024
MIN_PART_BYTES = 5 * 1024 * 1024
MAX_PARTS = 10_000
SHA256 = "sha256"

Progress = Callable[[str, int, int], None]


class Store:
    """One bucket, with the key that encrypts what is put there."""

    def __init__(
        self,
        aws: AWSClient,
        bucket: str,
        *,
        kms_key: str | None = None,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._aws = aws
        self.bucket = bucket
        self._kms_key = kms_key
        self._part_bytes = part_bytes

    def stage(
        self, weights: Weights, prefix: str, deployment: str, progress: Progress
    ) -> int:
        """Upload what is missing, verify all, then write the manifest.

        The answer is the number of files that were uploaded.
        """
        num_uploaded = 0
        for file in weights.files:
            key = prefix + file.name
            if not self.holds(key, file.size, file.sha256):
                self.upload(key, file.path, file.sha256, progress)
                num_uploaded += 1
        self.verify(weights, prefix)
        # Staged before, it stays whose it was: `destroy --all` goes by that.
        if not self.is_staged(weights, prefix):
            manifest = manifest_of(weights, deployment)
            self.put(prefix + MANIFEST, json.dumps(manifest, indent=2).encode())
        return num_uploaded

    def verify(self, weights: Weights, prefix: str) -> None:
        """Raises ResourceFailedError with the files that are not as they should be."""
        wrong = [
            file.name
            for file in weights.files
            if not self.holds(prefix + file.name, file.size, file.sha256)
        ]
        if wrong:
            raise ResourceFailedError(
                f"not as they should be in s3://{self.bucket}/{prefix}: "
                + ", ".join(wrong),
                hint="chandra-sagemaker model stage again",
            )

    def is_staged(self, weights: Weights, prefix: str) -> bool:
        manifest = self.manifest(prefix)
        return manifest is not None and is_same(manifest, weights)

    def manifest(self, prefix: str) -> dict[str, Any] | None:
        try:
            answer = self._aws.call(
                "s3", "get_object", Bucket=self.bucket, Key=prefix + MANIFEST
            )
        except NotFoundError:
            return None
        content = json.loads(answer["Body"].read())
        return content if isinstance(content, dict) else None

    def holds(self, key: str, size: int, sha256: str) -> bool:
        """The object is there, of that size, uploaded from those bytes."""
        try:
            head = self._aws.call("s3", "head_object", Bucket=self.bucket, Key=key)
        except NotFoundError:
            return False
        found = (head["ContentLength"], head["Metadata"].get(SHA256))
        return found == (size, sha256)

    def upload(self, key: str, path: Path, sha256: str, progress: Progress) -> None:
        """Parts that an earlier attempt left behind are kept, if they are the same."""
        size = path.stat().st_size
        if size <= self._part_bytes:
            self.put(key, path.read_bytes(), sha256)
            progress(key, size, size)
            return
        part_bytes = max(self._part_bytes, -(-size // MAX_PARTS))
        upload = self._begun(key) or self._begin(key, sha256)
        known = self._parts(key, upload)
        parts, done = [], 0
        with path.open("rb") as file:
            number = 0
            while content := file.read(part_bytes):
                number += 1
                etag = known.get((number, len(content), _md5(content)))
                if etag is None:
                    etag = self.send_part(key, upload, number, content)
                parts.append({"PartNumber": number, "ETag": etag})
                done += len(content)
                progress(key, done, size)
        self.complete(key, upload, parts)

    def stream(self, key: str) -> StreamedUpload:
        """A file to write into that ends up as one object."""
        return StreamedUpload(self, key, self._begin(key, None), self._part_bytes)

    def complete(self, key: str, upload: str, parts: list[dict[str, Any]]) -> None:
        self._aws.call(
            "s3",
            "complete_multipart_upload",
            Bucket=self.bucket,
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": parts},
        )

    def abort(self, key: str, upload: str) -> None:
        self._aws.call(
            "s3",
            "abort_multipart_upload",
            Bucket=self.bucket,
            Key=key,
            UploadId=upload,
        )

    def put(self, key: str, content: bytes, sha256: str | None = None) -> None:
        self._aws.call(
            "s3",
            "put_object",
            Bucket=self.bucket,
            Key=key,
            Body=content,
            **self._properties(sha256),
        )

    def _begin(self, key: str, sha256: str | None) -> str:
        answer = self._aws.call(
            "s3",
            "create_multipart_upload",
            Bucket=self.bucket,
            Key=key,
            **self._properties(sha256),
        )
        return str(answer["UploadId"])

    def _begun(self, key: str) -> str | None:
        """The newest attempt at this key that was not finished."""
        found = [
            item
            for item in self._aws.pages(
                "s3",
                "list_multipart_uploads",
                "Uploads",
                Bucket=self.bucket,
                Prefix=key,
            )
            if item["Key"] == key
        ]
        found.sort(key=lambda item: item["Initiated"])
        return str(found[-1]["UploadId"]) if found else None

    def _parts(self, key: str, upload: str) -> dict[tuple[int, int, str], str]:
        """Their tags by number, size and digest.

        Under a KMS key a part's ETag is no MD5: then none is found, and all are sent
        again.
        """
        return {
            (part["PartNumber"], part["Size"], part["ETag"].strip('"')): part["ETag"]
            for part in self._aws.pages(
                "s3",
                "list_parts",
                "Parts",
                Bucket=self.bucket,
                Key=key,
                UploadId=upload,
            )
        }

    def send_part(self, key: str, upload: str, number: int, content: bytes) -> str:
        answer = self._aws.call(
            "s3",
            "upload_part",
            Bucket=self.bucket,
            Key=key,
            UploadId=upload,
            PartNumber=number,
            Body=content,
        )
        return str(answer["ETag"])

    def _properties(self, sha256: str | None) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        if sha256 is not None:
            properties["Metadata"] = {SHA256: sha256}
        if self._kms_key is not None:
            properties["ServerSideEncryption"] = "aws:kms"
            properties["SSEKMSKeyId"] = self._kms_key
        return properties


class StreamedUpload:
    """Written to from the front to the back; what is half done is taken back."""

    def __init__(self, store: Store, key: str, upload: str, part_bytes: int) -> None:
        self._store = store
        self._key = key
        self._upload = upload
        self._part_bytes = max(part_bytes, MIN_PART_BYTES)
        self._buffer = bytearray()
        self._parts: list[dict[str, Any]] = []

    def write(self, content: bytes) -> int:
        self._buffer += content
        while len(self._buffer) >= self._part_bytes:
            self._send(bytes(self._buffer[: self._part_bytes]))
            del self._buffer[: self._part_bytes]
        return len(content)

    def __enter__(self) -> StreamedUpload:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._store.abort(self._key, self._upload)
            return
        self._send(bytes(self._buffer))
        self._store.complete(self._key, self._upload, self._parts)

    def _send(self, content: bytes) -> None:
        number = len(self._parts) + 1
        etag = self._store.send_part(self._key, self._upload, number, content)
        self._parts.append({"PartNumber": number, "ETag": etag})


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
