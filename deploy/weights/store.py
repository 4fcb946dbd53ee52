"""Weights and other files in S3: put there, verified, and found again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from deploy.aws.client import AWSClient
from deploy.aws.faults import fault_of, sdk_errors
from deploy.errors import ConflictError, NotFoundError, ResourceFailedError
from deploy.weights.files import (
    MANIFEST,
    STAGING,
    WeightFile,
    Weights,
    is_same,
    manifest_of,
    some,
    write_tar,
)
from deploy.weights.multipart import StreamedUpload, Upload

__all__ = ["Store"]

PART_BYTES = 64 * 1024 * 1024
MAX_PARTS = 10_000
MAX_ATTEMPTS = 3
SHA256 = "sha256"
WEIGHTS = "weights-sha256"
"""On a tar: of the list of files in it, for its own is known at its end only."""
OTHER_PLACE = (
    "chandra-sagemaker model stage with another --revision (without one, a folder's is "
    "a digest of its files), or set another [model] prefix in chandra.toml"
)

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
        missing = self.missing(weights, prefix)
        # Staged before, it stays whose it was: `destroy --all` goes by that.
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
        """What has to be uploaded; raises ConflictError where other files lie there.

        A container is given everything below the prefix, and an endpoint that runs
        would start its next machine with other weights under the same name.
        """
        where = f"s3://{self.bucket}/{prefix}"
        manifest = self.manifest(prefix)
        if manifest is not None and not is_same(manifest, weights):
            raise ConflictError(
                f"{where} holds other weights already, and what runs on them would get "
                "these in their place",
                hint=OTHER_PLACE,
            )
        wanted = {MANIFEST, STAGING, *(file.name for file in weights.files)}
        others = sorted(self.sizes(prefix).keys() - wanted)
        if others:
            raise ConflictError(
                f"{where} holds {some(others)}, which these weights do not have and "
                "the container would be given too",
                hint=OTHER_PLACE,
            )
        return [
            file
            for file in weights.files
            if not self.holds(prefix + file.name, file.size, file.sha256)
        ]

    def sizes(self, prefix: str) -> dict[str, int]:
        """Everything below the prefix, by its name there."""
        return {
            str(item["Key"]).removeprefix(prefix): int(item["Size"])
            for item in self._aws.objects(self.bucket, prefix)
        }

    def verify(self, weights: Weights, prefix: str) -> None:
        """Raises ResourceFailedError with the files that are not as they should be."""
        wrong = [
            file.name
            for file in weights.files
            if not self.holds(prefix + file.name, file.size, file.sha256)
        ]
        if wrong:
            raise ResourceFailedError(
                f"not as they should be in s3://{self.bucket}/{prefix}: {some(wrong)}",
                hint="chandra-sagemaker model stage again",
            )

    def manifest(self, prefix: str) -> dict[str, Any] | None:
        """What was staged; None where nothing was, or not to its end."""
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
        """The object is there, of that size, uploaded from those bytes."""
        return self._head(key, SHA256) == (size, sha256)

    def content(self, key: str, size: int) -> Iterator[bytes]:
        """Yield an object in parts; retry a part whose transfer fails."""
        for start in range(0, size, self._part_bytes):
            end = min(start + self._part_bytes, size)
            for attempt in range(1, MAX_ATTEMPTS + 1):
                answer = self._aws.call(
                    "s3",
                    "get_object",
                    Bucket=self.bucket,
                    Key=key,
                    Range=f"bytes={start}-{end - 1}",
                )
                try:
                    yield answer["Body"].read()
                    break
                except sdk_errors() as error:
                    if attempt == MAX_ATTEMPTS:
                        raise fault_of(error, "s3 get_object") from error

    def upload(self, key: str, path: Path, sha256: str, progress: Progress) -> None:
        """Parts that an earlier attempt left behind are kept, if they are the same."""
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
        """All files as one object, unless that is there; whether it was written.

        Raises ResourceFailedError where it has not arrived whole.
        """
        if self.holds_tar(weights.sha256, key):
            return False
        upload = self._begin(key, {WEIGHTS: weights.sha256})
        stream = StreamedUpload(upload, self._part_bytes)
        write_tar(weights, cast("IO[bytes]", stream), progress)
        stream.finish()
        if self._head(key, WEIGHTS) != (upload.size, weights.sha256):
            raise ResourceFailedError(
                f"s3://{self.bucket}/{key} has not arrived as it was sent",
                hint="chandra-sagemaker model stage --tar again",
            )
        return True

    def holds_tar(self, sha256: str, key: str) -> bool:
        """The object is there, and was made of the files of that digest."""
        return self._head(key, WEIGHTS)[1] == sha256

    def _head(self, key: str, name: str) -> tuple[int, str | None]:
        """Its size, and what it says of itself under the name."""
        try:
            head = self._aws.call("s3", "head_object", Bucket=self.bucket, Key=key)
        except NotFoundError:
            return 0, None
        return int(head["ContentLength"]), head["Metadata"].get(name)

    def put(self, key: str, content: bytes, sha256: str | None = None) -> None:
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
