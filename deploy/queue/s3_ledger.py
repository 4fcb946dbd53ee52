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

__all__ = ["S3Ledger", "open_ledger"]


class S3Ledger:
    """Ledger below one prefix of a bucket."""

    def __init__(self, aws: AWSClient, uri: str) -> None:
        self._aws = aws
        self._bucket, prefix = split_uri(uri)
        self._prefix = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""

    @property
    def name(self) -> str:
        return f"{S3}{self._bucket}/{self._prefix}"

    def find_job(self, key: str) -> Job | None:
        return self._read_job(self._object_key("jobs", key))

    def read_jobs(self) -> Iterator[Job]:
        yield from self._read_all("jobs", self._read_job)

    def save(self, job: Job) -> Job | None:
        condition = (
            {"IfNoneMatch": "*"} if job.stamp is None else {"IfMatch": job.stamp}
        )
        try:
            etag = self._put_record(
                self._object_key("jobs", job.key), to_json(job), **condition
            )
        except (ConflictError, NotFoundError):
            # A retried request may find the record that its own first attempt wrote.
            existing = self.find_job(job.key)
            return existing if existing == job else None
        return replace(job, stamp=etag)

    def find_place(self, place_id: str) -> Place | None:
        return self._read_place(self._object_key("places", place_id))

    def read_places(self) -> Iterator[Place]:
        yield from self._read_all("places", self._read_place)

    def save_place(self, place: Place) -> None:
        self._put_record(self._object_key("places", place.id), asdict(place))

    def close(self) -> None:
        """Do nothing: there is no connection to close."""

    def _object_key(self, kind: str, name: str) -> str:
        return f"{self._prefix}{kind}/{name}.json"

    def _read_job(self, key: str) -> Job | None:
        record = self._get_record(key)
        return None if record is None else from_json(*record)

    def _read_place(self, key: str) -> Place | None:
        record = self._get_record(key)
        return None if record is None else Place(**record[0])

    def _get_record(self, key: str) -> tuple[dict[str, Any], str] | None:
        """Return a record and its ETag; None if it does not exist."""
        try:
            answer = self._aws.call("s3", "get_object", Bucket=self._bucket, Key=key)
        except NotFoundError:
            return None
        return json.loads(answer["Body"].read()), str(answer["ETag"])

    def _put_record(self, key: str, record: dict[str, Any], **condition: str) -> str:
        """Write a record and return its ETag; raises ConflictError by `condition`."""
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

    def _read_all(self, kind: str, read: Any) -> Iterator[Any]:
        """Yield all records of a kind, several read at once.

        Records that are deleted meanwhile are left out.
        """
        items = self._aws.objects(self._bucket, f"{self._prefix}{kind}/")
        keys = [item["Key"] for item in items]
        with ThreadPoolExecutor(NUM_SMALL_REQUESTS) as threads:
            yield from (item for item in threads.map(read, keys) if item is not None)


def open_ledger(location: str, aws: AWSClient) -> Ledger:
    """Open the ledger at s3://bucket/prefix or in a file, which is created if missing.

    Raises ConfigError if a file is not a ledger.
    """
    if location.startswith(S3):
        return S3Ledger(aws, location)
    return SqliteLedger(Path(location))
