"""S3 in a dict, for whoever only looks for documents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from deploy.documents.document import Absent, StoredObject, split_uri
from deploy.documents.signatures import Sample
from deploy.errors import NotFoundError


@dataclass
class Bucket:
    """Contents by URI."""

    contents: dict[str, bytes] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    """URIs of objects that may be listed and not be read."""

    def below(self, bucket: str, prefix: str) -> Iterator[StoredObject]:
        for uri in sorted(self.contents):
            if uri.startswith(f"s3://{bucket}/{prefix}"):
                yield self._object(uri)

    def heads(self, uris: Sequence[str]) -> list[StoredObject | Absent]:
        return [
            self._object(uri) if uri in self.contents else Absent.NOT_FOUND
            for uri in uris
        ]

    def samples(self, items: Sequence[StoredObject]) -> list[Sample | None]:
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
