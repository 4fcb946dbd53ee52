"""Documents on their way into an asynchronous endpoint's queue."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.aws.client import AWSClient
from deploy.aws.runtime import Runtime
from deploy.documents.document import S3, Absent, StoredObject, split_uri
from deploy.documents.objects import Bucketed
from deploy.errors import AccessDeniedError
from deploy.queue.endpoint import Exchange
from deploy.queue.job import Job
from deploy.weights.files import sha256_of
from deploy.weights.store import Store

__all__ = ["Queue"]


class Queue:
    """Of one endpoint."""

    def __init__(
        self,
        aws: AWSClient,
        endpoint: str,
        exchange: Exchange,
        *,
        kms_key: str | None = None,
    ) -> None:
        self._runtime = Runtime(aws, endpoint)
        self._objects = Bucketed(aws)
        self._store = Store(aws, exchange.bucket, kms_key=kms_key)
        self._exchange = exchange
        # Threads must not each make them.
        for service in ("s3", "sagemaker-runtime"):
            aws.client(service)

    def upload(self, job: Job) -> str:
        """By its digest, so that the same bytes are sent once whatever their name.

        Raises OSError where the file is no longer what it was.
        """
        key = f"{self._exchange.input_prefix}{job.content}"
        if not self._store.holds(key, job.size, job.content):
            path = Path(job.source)
            if sha256_of(path) != job.content:
                raise OSError("it changed since it was looked at; submit it again")
            self._store.upload(key, path, job.content, lambda key, done, total: None)
        return f"{S3}{self._exchange.bucket}/{key}"

    def answer_to(self, job: Job) -> tuple[str, str] | None:
        output = self._exchange.output_of(job.key, job.run, job.attempt)
        (found,) = self._objects.heads([output])
        if found is Absent.FORBIDDEN:
            # Not known is not "none": sent again, it would be paid for twice.
            raise AccessDeniedError(
                f"these credentials may not look for {output}",
                hint="s3:GetObject and s3:ListBucket there: chandra-sagemaker iam "
                "--caller",
            )
        if isinstance(found, StoredObject):
            return output, ""
        begin = self._exchange.failure_of(job.key, job.run, job.attempt)
        failures = self._objects.below(*split_uri(begin))
        # Sent again, it would fail again, and at once by the failure that is there.
        return next(((output, failure.uri) for failure in failures), None)

    def send(self, request: Mapping[str, Any]) -> tuple[str, str]:
        return self._runtime.submit(**request)
