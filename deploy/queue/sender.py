"""Upload and submission of documents to an asynchronous endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.aws.client import AWSClient
from deploy.aws.runtime import Runtime
from deploy.documents.document import S3, AbsenceReason, StoredObject, split_uri
from deploy.documents.objects import S3Objects
from deploy.errors import AccessDeniedError
from deploy.queue.endpoint import Exchange
from deploy.queue.job import Job
from deploy.weights.files import compute_sha256
from deploy.weights.store import Store

__all__ = ["QueueSender"]


class QueueSender:
    """Sender of documents to one asynchronous endpoint."""

    def __init__(
        self,
        aws: AWSClient,
        endpoint: str,
        exchange: Exchange,
        *,
        kms_key: str | None = None,
    ) -> None:
        self._runtime = Runtime(aws, endpoint)
        self._objects = S3Objects(aws)
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
            if compute_sha256(path) != job.content:
                raise OSError("it changed while it was submitted; submit it again")
            self._store.upload(key, path, job.content, lambda key, done, total: None)
        return f"{S3}{self._exchange.bucket}/{key}"

    def find_outcome(self, job: Job) -> tuple[str, str] | None:
        """Return the addresses of result and failure if one of them exists, else None.

        The address of the failure is empty if the result exists. Raises
        AccessDeniedError if the caller may not check.
        """
        output = self._exchange.get_output_uri(job.key, job.run, job.attempt)
        (head,) = self._objects.head_objects([output])
        if head is AbsenceReason.FORBIDDEN:
            # The result may exist. Sent again, the document would be paid for twice.
            raise AccessDeniedError(
                f"not allowed to check whether {output} exists",
                hint="s3:GetObject and s3:ListBucket there: chandra-sagemaker iam "
                "--caller",
            )
        if isinstance(head, StoredObject):
            return output, ""
        failure_prefix = self._exchange.get_failure_prefix(
            job.key, job.run, job.attempt
        )
        failures = self._objects.list_objects(*split_uri(failure_prefix))
        # Sent again, it would fail again: the existing failure would be found at once.
        return next(((output, failure.uri) for failure in failures), None)

    def send(self, request: Mapping[str, Any]) -> tuple[str, str]:
        """Submit a request and return the addresses of its result and failure."""
        return self._runtime.submit(**request)
