"""Upload and submission of documents to an asynchronous endpoint."""

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
    """Sender for one endpoint, which `Submission` uses."""

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
        # Create the clients before threads do: creating one is slow.
        for service in ("s3", "sagemaker-runtime"):
            aws.client(service)

    def upload(self, job: Job) -> str:
        """Upload a local document under its digest and return its S3 address.

        The same bytes are uploaded once, under any name. Raises OSError if the file has
        changed since it was hashed.
        """
        key = f"{self._exchange.input_prefix}{job.content}"
        if not self._store.holds(key, job.size, job.content):
            path = Path(job.source)
            if sha256_of(path) != job.content:
                raise OSError("it changed while it was submitted; submit it again")
            self._store.upload(key, path, job.content, lambda key, done, total: None)
        return f"{S3}{self._exchange.bucket}/{key}"

    def answer_to(self, job: Job) -> tuple[str, str] | None:
        """Return the addresses of result and failure if one of them exists.

        Raises AccessDeniedError if the caller may not check.
        """
        output = self._exchange.output_of(job.key, job.run, job.attempt)
        (head,) = self._objects.heads([output])
        if head is Absent.FORBIDDEN:
            # The result may exist. Sent again, the document would be paid for twice.
            raise AccessDeniedError(
                f"not allowed to check whether {output} exists",
                hint="s3:GetObject and s3:ListBucket there: chandra-sagemaker iam "
                "--caller",
            )
        if isinstance(head, StoredObject):
            return output, ""
        begin = self._exchange.failure_of(job.key, job.run, job.attempt)
        failures = self._objects.below(*split_uri(begin))
        # Sent again, it would fail again: the existing failure would be found at once.
        return next(((output, failure.uri) for failure in failures), None)

    def send(self, request: Mapping[str, Any]) -> tuple[str, str]:
        """Submit a request and return the addresses of its result and failure."""
        return self._runtime.submit(**request)
