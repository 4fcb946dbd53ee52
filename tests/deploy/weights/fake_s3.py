"""Fake S3 in a dict, and helpers for weights in S3."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from deploy.documents.document import AbsenceReason, StoredObject, split_uri
from deploy.documents.signatures import Sample
from deploy.errors import NotFoundError
from deploy.weights.files import read_weights
from deploy.weights.store import Store


@dataclass
class FakeS3:
    """Fake S3, with the contents of its objects by URI."""

    contents: dict[str, bytes] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    """URIs of objects that may be listed and not be read."""

    def list_objects(self, bucket: str, prefix: str) -> Iterator[StoredObject]:
        for uri in sorted(self.contents):
            if uri.startswith(f"s3://{bucket}/{prefix}"):
                yield self._object(uri)

    def head_objects(self, uris: Sequence[str]) -> list[StoredObject | AbsenceReason]:
        return [
            self._object(uri) if uri in self.contents else AbsenceReason.NOT_FOUND
            for uri in uris
        ]

    def read_samples(self, items: Sequence[StoredObject]) -> list[Sample | None]:
        return [
            None
            if item.uri in self.closed
            else Sample(self.contents[item.uri][:1024], self.contents[item.uri][-18:])
            for item in items
        ]

    def read(self, bucket: str, key: str) -> bytes:
        try:
            return self.contents[f"s3://{bucket}/{key}"]
        except KeyError as error:
            raise NotFoundError(f"there is no {key}") from error

    def _object(self, uri: str) -> StoredObject:
        bucket, key = split_uri(uri)
        content = self.contents[uri]
        etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return StoredObject(bucket, key, len(content), etag)


BUCKET = "weights"
MIB = 1024 * 1024
PREFIX = "models/datalab-to/chandra/"
CONFIG = '{"model_type": "qwen3_vl"}'
OTHER_CONFIG = '{"model_type": "qwen3_vl", "dtype": "bfloat16"}'


def list_keys(wire):
    return [
        o["Key"] for o in wire.pages("s3", "list_objects_v2", "Contents", Bucket=BUCKET)
    ]


def read_object(wire, key):
    return wire.call("s3", "get_object", Bucket=BUCKET, Key=key)["Body"].read()


def create_store(wire):
    return Store(wire, BUCKET, part_bytes=5 * MIB)


def stage_folder(wire, folder, seen=None):
    """Stage a folder as `p/`; return the number of uploaded files.

    `seen` collects the numbers of bytes in progress reports.
    """
    weights = read_weights(folder, "m", "r")
    return create_store(wire).stage(
        weights,
        "p/",
        "ocr",
        lambda key, done, total: seen.append(done) if seen is not None else None,
    )
