"""Weights and other files in a bucket of S3: upload, verification and lookup."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from deploy.aws.client import AWSClient
from deploy.aws.faults import deploy_error_from, sdk_errors
from deploy.errors import ConflictError, NotFoundError, ResourceFailedError
from deploy.retries import Backoff, retry
from deploy.weights.files import (
    MANIFEST,
    STAGING,
    WeightFile,
    Weights,
    abbreviate,
    is_same,
    manifest_of,
    write_tar,
)
from deploy.weights.multipart import StreamedUpload, Upload

__all__ = ["Store"]

PART_BYTES = 64 * 1024 * 1024
MAX_PARTS = 10_000
# A new connection is what helps here, so there is no pause before it.
BACKOFF = Backoff(num_retries=2, first_seconds=0.0, longest_seconds=0.0)
SHA256 = "sha256"
WEIGHTS = "weights-sha256"
"""Metadata of a tar: digest of the list of its files. The digest of the tar itself is
known only at its end."""
OTHER_PLACE = (
    "chandra-sagemaker model stage with another --revision (without one, a folder's is "
    "a digest of its files), or set another [model] prefix in chandra.toml"
)

Progress = Callable[[str, int, int], None]


class Store:
    """Bucket for uploads, with the KMS key that encrypts them."""

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
        """Upload missing files, verify all, then write the manifest.

        Returns the number of uploaded files.
        """
        missing = self.missing(weights, prefix)
        # Staged weights keep their owner, which decides what `destroy --all` deletes.
        is_whole = self.manifest(prefix) is not None
        if not is_whole:
            mark = {"deployment": deployment}
            self.put(prefix + STAGING, json.dumps(mark).encode())
        for file in missing:
            self.upload(prefix + file.name, file.path, file.sha256, progress)
        self.verify(weights, prefix)
        if not is_whole:
            manifest = manifest_of(weights, deployment)
            self.put(prefix + MANIFEST, json.dumps(manifest, indent=2).encode())
        if STAGING in self.sizes(prefix):
            self._aws.call(
                "s3", "delete_object", Bucket=self.bucket, Key=prefix + STAGING
            )
        return len(missing)

    def missing(self, weights: Weights, prefix: str) -> list[WeightFile]:
        """Return the files to upload.

        Raises ConflictError if other files lie below the prefix: a container downloads
        everything below it, and a running endpoint would start its next machine with
        other weights under the same name.
        """
        where = f"s3://{self.bucket}/{prefix}"
        manifest = self.manifest(prefix)
        if manifest is not None and not is_same(manifest, weights):
            raise ConflictError(
                f"{where} holds other weights already, and what runs on them would get "
                "these in their place",
                hint=OTHER_PLACE,
            )
        expected = {MANIFEST, STAGING, *(file.name for file in weights.files)}
        others = sorted(self.sizes(prefix).keys() - expected)
        if others:
            raise ConflictError(
                f"{where} holds {abbreviate(others)}, which are not part of "
                "these weights, and the container would download them too",
                hint=OTHER_PLACE,
            )
        return [
            file
            for file in weights.files
            if not self.holds(prefix + file.name, file.size, file.sha256)
        ]

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the size of every object below a prefix, by relative key."""
        return {
            str(item["Key"]).removeprefix(prefix): int(item["Size"])
            for item in self._aws.objects(self.bucket, prefix)
        }

    def verify(self, weights: Weights, prefix: str) -> None:
        """Raise ResourceFailedError if a file is missing or different."""
        wrong = [
            file.name
            for file in weights.files
            if not self.holds(prefix + file.name, file.size, file.sha256)
        ]
        if wrong:
            raise ResourceFailedError(
                f"missing or different in s3://{self.bucket}/{prefix}: "
                f"{abbreviate(wrong)}",
                hint="chandra-sagemaker model stage again",
            )

    def manifest(self, prefix: str) -> dict[str, Any] | None:
        """Return the manifest of staged weights; None if staging is not complete."""
        try:
            answer = self._aws.call(
                "s3", "get_object", Bucket=self.bucket, Key=prefix + MANIFEST
            )
        except NotFoundError:
            return None
        try:
            content = json.loads(answer["Body"].read())
        except ValueError:
            return None
        return content if isinstance(content, dict) else None

    def holds(self, key: str, size: int, sha256: str) -> bool:
        """Return whether an object has this size and was uploaded from these bytes."""
        return self._head(key, SHA256) == (size, sha256)

    def content(self, key: str, size: int) -> Iterator[bytes]:
        """Yield an object in parts; retry a part whose transfer fails."""
        for start in range(0, size, self._part_bytes):
            end = min(start + self._part_bytes, size)
            yield retry(
                partial(self._read_range, key, start, end),
                BACKOFF,
                sleep=lambda seconds: None,
            )

    def _read_range(self, key: str, start: int, end: int) -> bytes:
        answer = self._aws.call(
            "s3",
            "get_object",
            Bucket=self.bucket,
            Key=key,
            Range=f"bytes={start}-{end - 1}",
        )
        try:
            content: bytes = answer["Body"].read()
        except sdk_errors() as error:
            raise deploy_error_from(error, "s3 get_object") from error
        return content

    def upload(self, key: str, path: Path, sha256: str, progress: Progress) -> None:
        """Upload a file; equal parts of an interrupted upload are kept."""
        size = path.stat().st_size
        if size <= self._part_bytes:
            self.put(key, path.read_bytes(), sha256)
            progress(key, size, size)
            return
        part_bytes = max(self._part_bytes, -(-size // MAX_PARTS))
        upload = self._begin(key, {SHA256: sha256})
        with path.open("rb") as file:
            while content := file.read(part_bytes):
                upload.add(content)
                progress(key, upload.size, size)
        upload.finish()

    def tar(
        self, weights: Weights, key: str, progress: Callable[[int, int], None]
    ) -> bool:
        """Upload all files as one tar unless it exists; return whether it was written.

        Raises ResourceFailedError if the object does not match afterwards.
        """
        if self.holds_tar(weights.sha256, key):
            return False
        upload = self._begin(key, {WEIGHTS: weights.sha256})
        stream = StreamedUpload(upload, self._part_bytes)
        write_tar(weights, cast("IO[bytes]", stream), progress)
        stream.finish()
        if self._head(key, WEIGHTS) != (upload.size, weights.sha256):
            raise ResourceFailedError(
                f"s3://{self.bucket}/{key} differs from what was sent",
                hint="chandra-sagemaker model stage --tar again",
            )
        return True

    def holds_tar(self, sha256: str, key: str) -> bool:
        """Return whether a tar exists that was made of the files with this digest."""
        return self._head(key, WEIGHTS)[1] == sha256

    def _head(self, key: str, name: str) -> tuple[int, str | None]:
        """Return the size of an object and one value of its metadata."""
        try:
            head = self._aws.call("s3", "head_object", Bucket=self.bucket, Key=key)
        except NotFoundError:
            return 0, None
        return int(head["ContentLength"]), head["Metadata"].get(name)

    def put(self, key: str, content: bytes, sha256: str | None = None) -> None:
        """Upload an object in one request."""
        self._aws.call(
            "s3",
            "put_object",
            Bucket=self.bucket,
            Key=key,
            Body=content,
            **self._properties({} if sha256 is None else {SHA256: sha256}),
        )

    def _begin(self, key: str, metadata: Mapping[str, str]) -> Upload:
        return Upload(self._aws, self.bucket, key, self._properties(metadata))

    def _properties(self, metadata: Mapping[str, str]) -> dict[str, Any]:
        properties: dict[str, Any] = {"Metadata": dict(metadata)} if metadata else {}
        if self._kms_key is not None:
            properties["ServerSideEncryption"] = "aws:kms"
            properties["SSEKMSKeyId"] = self._kms_key
        return properties
