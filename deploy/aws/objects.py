"""Objects of S3 as documents are looked for: listed, asked about, read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from deploy.aws.client import AWSClient
from deploy.documents import StoredObject, split_uri
from deploy.errors import NotFoundError

__all__ = ["Bucketed"]

NUM_AT_ONCE = 16


class Bucketed:
    """Any bucket that the credentials reach."""

    def __init__(self, aws: AWSClient) -> None:
        self._aws = aws

    def below(self, bucket: str, prefix: str) -> Iterator[StoredObject]:
        for item in self._aws.pages(
            "s3", "list_objects_v2", "Contents", Bucket=bucket, Prefix=prefix
        ):
            yield StoredObject(
                bucket, item["Key"], item["Size"], item["ETag"].strip('"')
            )

    def heads(self, uris: Sequence[str]) -> list[StoredObject | None]:
        """Some at once: a manifest may name ten thousand."""
        self._aws.client("s3")
        with ThreadPoolExecutor(NUM_AT_ONCE) as threads:
            return list(threads.map(self._head, uris))

    def read(self, bucket: str, key: str) -> bytes:
        answer = self._aws.call("s3", "get_object", Bucket=bucket, Key=key)
        content: bytes = answer["Body"].read()
        return content

    def _head(self, uri: str) -> StoredObject | None:
        bucket, key = split_uri(uri)
        try:
            answer = self._aws.call("s3", "head_object", Bucket=bucket, Key=key)
        except NotFoundError:
            return None
        etag = str(answer["ETag"]).strip('"')
        return StoredObject(bucket, key, int(answer["ContentLength"]), etag)
