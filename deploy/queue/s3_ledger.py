"""Ledger in S3 for several machines, with one small object per record.

Objects are written on the condition that they have not changed, which S3 supports since
2024. Of two processes that change the same job, one is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from deploy.aws.client import AWSClient
from deploy.concurrency import NUM_SMALL_REQUESTS
from deploy.documents.document import S3, split_uri
from deploy.errors import ConflictError, NotFoundError
from deploy.queue.job import Job, Place
from deploy.queue.ledger import Ledger, SqliteLedger, from_json, to_json

__all__ = ["StoredLedger", "open_ledger"]


class StoredLedger:
    """Ledger below one prefix of a bucket."""

    def __init__(self, aws: AWSClient, uri: str) -> None:
        self._aws = aws
        self._bucket, prefix = split_uri(uri)
        self._prefix = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""

    @property
    def name(self) -> str:
        return f"{S3}{self._bucket}/{self._prefix}"

    def job(self, key: str) -> Job | None:
        return self._job(self._key("jobs", key))

    def jobs(self) -> Iterator[Job]:
        yield from self._all("jobs", self._job)

    def save(self, job: Job) -> Job | None:
        condition = (
            {"IfNoneMatch": "*"} if job.stamp is None else {"IfMatch": job.stamp}
        )
        try:
            etag = self._put(self._key("jobs", job.key), to_json(job), **condition)
        except (ConflictError, NotFoundError):
            # A retried request may find the record that its own first attempt wrote.
            existing = self.job(job.key)
            return existing if existing == job else None
        return replace(job, stamp=etag)

    def place(self, place_id: str) -> Place | None:
        return self._place(self._key("places", place_id))

    def places(self) -> Iterator[Place]:
        yield from self._all("places", self._place)

    def put_place(self, place: Place) -> None:
        self._put(self._key("places", place.id), asdict(place))

    def close(self) -> None:
        """Do nothing: there is no connection to close."""

    def _key(self, kind: str, name: str) -> str:
        return f"{self._prefix}{kind}/{name}.json"

    def _job(self, key: str) -> Job | None:
        record = self._get(key)
        return None if record is None else from_json(*record)

    def _place(self, key: str) -> Place | None:
        record = self._get(key)
        return None if record is None else Place(**record[0])

    def _get(self, key: str) -> tuple[dict[str, Any], str] | None:
        try:
            answer = self._aws.call("s3", "get_object", Bucket=self._bucket, Key=key)
        except NotFoundError:
            return None
        return json.loads(answer["Body"].read()), str(answer["ETag"])

    def _put(self, key: str, record: dict[str, Any], **condition: str) -> str:
        answer = self._aws.call(
            "s3",
            "put_object",
            Bucket=self._bucket,
            Key=key,
            Body=json.dumps(record).encode(),
            ContentType="application/json",
            **condition,
        )
        return str(answer["ETag"])

    def _all(self, kind: str, read: Any) -> Iterator[Any]:
        """Yield all records, several read at once, without those deleted meanwhile."""
        items = self._aws.objects(self._bucket, f"{self._prefix}{kind}/")
        keys = [item["Key"] for item in items]
        with ThreadPoolExecutor(NUM_SMALL_REQUESTS) as threads:
            yield from (item for item in threads.map(read, keys) if item is not None)


def open_ledger(where: str, aws: AWSClient) -> Ledger:
    """Open the ledger at s3://bucket/prefix or in a file."""
    if where.startswith(S3):
        return StoredLedger(aws, where)
    return SqliteLedger(Path(where))
