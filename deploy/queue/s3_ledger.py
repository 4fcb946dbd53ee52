"""Ledger in S3 for several machines, with one small object per record.

Objects are written on the condition that they have not changed, which S3 supports since
2024. Of two processes that change the same job, one is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from deploy.aws.client import AWSClient
from deploy.concurrency import NUM_SMALL_REQUESTS
from deploy.documents.document import S3, split_uri
from deploy.errors import ConflictError, NotFoundError
from deploy.queue.job import Job, Place
from deploy.queue.ledger import Ledger, SqliteLedger, from_json, to_json

__all__ = ["S3Ledger", "open_ledger"]

Record = TypeVar("Record")


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
        return self._read_record(self._object_key("jobs", key), from_json)

    def read_jobs(self) -> Iterator[Job]:
        return self._read_all("jobs", from_json)

    def save(self, job: Job) -> Job | None:
        condition = (
            {"IfNoneMatch": "*"} if job.stamp is None else {"IfMatch": job.stamp}
        )
        try:
            answer = self._aws.call(
                "s3",
                "put_object",
                **self._put_params("jobs", job.key, to_json(job)),
                **condition,
            )
        except (ConflictError, NotFoundError):
            # A retried request may find the record that its own first attempt wrote.
            existing = self.find_job(job.key)
            return existing if existing == job else None
        return replace(job, stamp=str(answer["ETag"]))

    def find_place(self, place_id: str) -> Place | None:
        return self._read_record(self._object_key("places", place_id), _parse_place)

    def read_places(self) -> Iterator[Place]:
        return self._read_all("places", _parse_place)

    def save_place(self, place: Place) -> None:
        self._aws.call(
            "s3", "put_object", **self._put_params("places", place.id, asdict(place))
        )

    def close(self) -> None:
        """Do nothing: there is no connection to close."""

    def _object_key(self, kind: str, name: str) -> str:
        return f"{self._prefix}{kind}/{name}.json"

    def _read_record(
        self, key: str, parse: Callable[[dict[str, Any], str], Record]
    ) -> Record | None:
        """Return a record, parsed with its ETag; None if it does not exist."""
        try:
            answer = self._aws.call("s3", "get_object", Bucket=self._bucket, Key=key)
        except NotFoundError:
            return None
        return parse(json.loads(answer["Body"].read()), str(answer["ETag"]))

    def _put_params(
        self, kind: str, name: str, record: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the parameters of PutObject that write a record."""
        return {
            "Bucket": self._bucket,
            "Key": self._object_key(kind, name),
            "Body": json.dumps(record).encode(),
            "ContentType": "application/json",
        }

    def _read_all(
        self, kind: str, parse: Callable[[dict[str, Any], str], Record]
    ) -> Iterator[Record]:
        """Yield all records of a kind, several read at once.

        Records that are deleted meanwhile are left out.
        """
        items = self._aws.objects(self._bucket, f"{self._prefix}{kind}/")
        keys = [item["Key"] for item in items]
        with ThreadPoolExecutor(NUM_SMALL_REQUESTS) as threads:
            records = threads.map(lambda key: self._read_record(key, parse), keys)
            yield from (record for record in records if record is not None)


def _parse_place(record: dict[str, Any], etag: str) -> Place:
    return Place(**record)


def open_ledger(location: str, aws: AWSClient) -> Ledger:
    """Open the ledger at s3://bucket/prefix or in a file, which is created if missing.

    Raises ConfigError if a file is not a ledger.
    """
    if location.startswith(S3):
        return S3Ledger(aws, location)
    return SqliteLedger(Path(location))
