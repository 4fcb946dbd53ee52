"""Weights and other files in a bucket of S3: upload, verification and lookup."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from deploy.aws.client import AWSClient
from deploy.aws.faults import deploy_error_from, sdk_errors
from deploy.errors import ConflictError, NotFoundError, ResourceFailedError
from deploy.retries import Attempts, Backoff
from deploy.weights.files import (
    MANIFEST,
    STAGING,
    WeightFile,
    Weights,
    abbreviate,
    build_manifest,
    has_same_files,
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
OTHER_REVISION_HINT = (
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

        Returns the number of uploaded files. Raises ConflictError as
        `find_missing_files` does, and ResourceFailedError if a file differs.
        """
        missing = self.find_missing_files(weights, prefix)
        # Staged weights keep their owner, which decides what `destroy --all` deletes.
        is_complete = self.read_manifest(prefix) is not None
        if not is_complete:
            owner = {"deployment": deployment}
            self.put(prefix + STAGING, json.dumps(owner).encode())
        for file in missing:
            self.upload(prefix + file.name, file.path, file.sha256, progress)
        self.verify(weights, prefix)
        if not is_complete:
            manifest = build_manifest(weights, deployment)
            self.put(prefix + MANIFEST, json.dumps(manifest, indent=2).encode())
        if STAGING in self.list_sizes(prefix):
            self._aws.call(
                "s3", "delete_object", Bucket=self.bucket, Key=prefix + STAGING
            )
        return len(missing)

    def find_missing_files(self, weights: Weights, prefix: str) -> list[WeightFile]:
        """Return the files of weights that the prefix lacks or has with other bytes.

        Raises ConflictError if other files lie below the prefix: a container downloads
        everything below it, and a running endpoint would start its next machine with
        other weights under the same name.
        """
        uri = f"s3://{self.bucket}/{prefix}"
        manifest = self.read_manifest(prefix)
        if manifest is not None and not has_same_files(manifest, weights):
            raise ConflictError(
                f"{uri} holds other weights already, and endpoints that use them "
                "would load these instead",
                hint=OTHER_REVISION_HINT,
            )
        expected = {MANIFEST, STAGING, *(file.name for file in weights.files)}
        others = sorted(self.list_sizes(prefix).keys() - expected)
        if others:
            raise ConflictError(
                f"{uri} holds {abbreviate(others)}, which are not part of "
                "these weights, and the container would download them too",
                hint=OTHER_REVISION_HINT,
            )
        return [
            file
            for file in weights.files
            if self._head(prefix + file.name, SHA256) != (file.size, file.sha256)
        ]

    def list_sizes(self, prefix: str) -> dict[str, int]:
        """Return the size of every object below a prefix, by relative key."""
        return {
            str(item["Key"]).removeprefix(prefix): int(item["Size"])
            for item in self._aws.objects(self.bucket, prefix)
        }

    def verify(self, weights: Weights, prefix: str) -> None:
        """Raise ResourceFailedError if a file is missing or different."""
        wrong_names = [
            file.name
            for file in weights.files
            if self._head(prefix + file.name, SHA256) != (file.size, file.sha256)
        ]
        if wrong_names:
            raise ResourceFailedError(
                f"missing or different in s3://{self.bucket}/{prefix}: "
                f"{abbreviate(wrong_names)}",
                hint="chandra-sagemaker model stage again",
            )

    def read_manifest(self, prefix: str) -> dict[str, Any] | None:
        """Return the manifest of staged weights; None if it is missing or not JSON.

        It is written last, so without it the weights are not complete.
        """
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
        """Return whether an object has this size, and this sha256 as metadata."""
        return self._head(key, SHA256) == (size, sha256)

    def read_content(self, key: str, size: int) -> Iterator[bytes]:
        """Download an object in parts, and yield each.

        A part whose transfer fails is requested up to two more times.
        """
        for start in range(0, size, self._part_bytes):
            end = min(start + self._part_bytes, size)
            for attempt in Attempts(BACKOFF, sleep=lambda seconds: None):
                with attempt:
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
            yield content

    def upload(self, key: str, path: Path, sha256: str, progress: Progress) -> None:
        """Upload a file with its sha256 as metadata.

        A large file is uploaded in parts; equal parts of an interrupted upload are not
        sent again. `progress` is called with key, uploaded bytes and size.
        """
        size = path.stat().st_size
        if size <= self._part_bytes:
            self.put(key, path.read_bytes(), sha256)
            progress(key, size, size)
            return
        part_bytes = max(self._part_bytes, -(-size // MAX_PARTS))
        properties = self._properties({SHA256: sha256})
        upload = Upload(self._aws, self.bucket, key, properties)
        with path.open("rb") as file:
            while content := file.read(part_bytes):
                upload.add(content)
                progress(key, upload.size, size)
        upload.finish()

    @contextmanager
    def open_tar(self, sha256: str, key: str) -> Iterator[IO[bytes]]:
        """Open a tar of the files with this digest; the block writes it.

        It is uploaded in parts, and completed at the end of the block. Raises
        ResourceFailedError if the object does not match afterwards.
        """
        properties = self._properties({WEIGHTS: sha256})
        upload = Upload(self._aws, self.bucket, key, properties)
        stream = StreamedUpload(upload, self._part_bytes)
        yield cast("IO[bytes]", stream)
        stream.finish()
        if self._head(key, WEIGHTS) != (upload.size, sha256):
            raise ResourceFailedError(
                f"s3://{self.bucket}/{key} differs from what was sent",
                hint="chandra-sagemaker model stage --tar again",
            )

    def holds_tar(self, sha256: str, key: str) -> bool:
        """Return whether a tar of the files with this digest exists."""
        return self._head(key, WEIGHTS)[1] == sha256

    def _head(self, key: str, name: str) -> tuple[int, str | None]:
        """Return the size of an object and one value of its metadata.

        They are 0 and None if there is no such object.
        """
        try:
            head = self._aws.call("s3", "head_object", Bucket=self.bucket, Key=key)
        except NotFoundError:
            return 0, None
        return int(head["ContentLength"]), head["Metadata"].get(name)

    def put(self, key: str, content: bytes, sha256: str | None = None) -> None:
        """Upload an object in one request, with its sha256 as metadata if given."""
        self._aws.call(
            "s3",
            "put_object",
            Bucket=self.bucket,
            Key=key,
            Body=content,
            **self._properties({} if sha256 is None else {SHA256: sha256}),
        )

    def _properties(self, metadata: Mapping[str, str]) -> dict[str, Any]:
        properties: dict[str, Any] = {"Metadata": dict(metadata)} if metadata else {}
        if self._kms_key is not None:
            properties["ServerSideEncryption"] = "aws:kms"
            properties["SSEKMSKeyId"] = self._kms_key
        return properties
