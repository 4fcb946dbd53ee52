"""Simulated machines of batch transform.

Each object in a manifest is one request. Objects with the word `broken` are refused as
by the container, with the log lines that SageMaker writes. Results of objects with
`partly` or `cut` lack their second page.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from deploy.aws import AWSClient
from deploy.documents.document import split_uri
from tests.deploy.accounts import IMAGE
from tests.deploy.contents import beginning, text_of
from tests.deploy.images import publish

TAR_KEY = "models/datalab-to/chandra/0123abc.tar.gz"
TRANSFORM_CONFIG = '[transform]\nbuckets = ["inbox", "results"]\n'
LOG_GROUP = "/aws/sagemaker/TransformJobs"
CODES_OF_MISSING_PAGES = {b"partly": "engine_failed", b"cut": "deadline_exceeded"}
ERRORS_BY_WORD = {
    "broken": (422, "unreadable_document"),
    "endless": (413, "document_too_large"),
}


@dataclass
class Transformer:
    """Callback of the shim, called with a job's request when the job runs."""

    wire: AWSClient
    milliseconds: int
    logs_bodies: bool = True
    """True if SageMaker logs the container's answer, and not only the status."""
    logs_nothing: bool = False
    """True if no log line is written."""
    logs_requests: bool = True
    """True if the container logs its requests, and not only other events."""
    failure_reason: str | None = None
    """Reason for which the job fails before it reads anything."""
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    """Key and body of each request."""

    def __call__(self, request: dict[str, Any]) -> str | None:
        if self.failure_reason is not None:
            return self.failure_reason
        name = request["TransformJobName"]
        bucket, below = split_uri(request["TransformOutput"]["S3OutputPath"])
        lines, container = [], []
        for place, key in self._objects(request):
            body = self._get(f"{place}{key}")
            self.sent.append((key, body))
            word = next(
                (word for word in ERRORS_BY_WORD if word.encode() in body), None
            )
            status, code = ERRORS_BY_WORD[word] if word else (200, "ok")
            failed = next(
                (
                    CODES_OF_MISSING_PAGES[word]
                    for word in CODES_OF_MISSING_PAGES
                    if word in body
                ),
                None,
            )
            container.append(
                {
                    "event": "request",
                    "status": status,
                    "code": code,
                    "document": hashlib.sha256(body).hexdigest()[:16],
                    "pages": 2,
                    "failed_pages": {"2": failed} if failed else {},
                }
            )
            if word is None:
                self.wire.call(
                    "s3",
                    "put_object",
                    Bucket=bucket,
                    Key=f"{below}{key}.out",
                    Body=_read(body, failed),
                )
                continue
            head = f"2026-11-26T08:00:00.000:[sagemaker logs]: {place}{key}: "
            lines.append(f"{head}ClientError: {status}")
            if self.logs_bodies:
                problem = {"status": status, "code": code, "detail": f"it is {word}"}
                lines += [head, f"{head}Message:", head + json.dumps(problem)]
        events = [json.dumps(line) for line in container]
        self._log(f"{name}/i-1-1", events if self.logs_requests else ["it is ready"])
        self._log(f"{name}/i-1-1/data-log", lines)
        return "AlgorithmError: See job logs for more information" if lines else None

    def _objects(self, request: dict[str, Any]) -> list[tuple[str, str]]:
        source = request["TransformInput"]["DataSource"]["S3DataSource"]
        assert source["S3DataType"] == "ManifestFile"
        head, *keys = json.loads(self._get(source["S3Uri"].removeprefix("s3://")))
        return [(head["prefix"].removeprefix("s3://"), key) for key in keys]

    def _get(self, place: str) -> bytes:
        bucket, _, key = place.partition("/")
        content: bytes = self.wire.call("s3", "get_object", Bucket=bucket, Key=key)[
            "Body"
        ].read()
        return content

    def _log(self, stream: str, lines: list[str]) -> None:
        if not lines or self.logs_nothing:
            return
        self.wire.call(
            "logs", "create_log_stream", logGroupName=LOG_GROUP, logStreamName=stream
        )
        self.wire.call(
            "logs",
            "put_log_events",
            logGroupName=LOG_GROUP,
            logStreamName=stream,
            logEvents=[
                {"timestamp": self.milliseconds, "message": line} for line in lines
            ],
        )


def _read(body: bytes, failed: str | None) -> bytes:
    comment = f"\n\n<!-- page 2: {failed}: it is so -->\n" if failed else ""
    return b"# " + text_of(body) + comment.encode()


def create_batch_resources(
    cloud: Any, wire: AWSClient, now: float
) -> Callable[..., None]:
    """Create buckets, weights, an image and machines of batch jobs.

    Returns a function that uploads a document: upload_document(key, body, bucket).
    """
    for name in ("inbox", "results", "weights"):
        wire.call("s3", "create_bucket", Bucket=name)
    wire.call("s3", "put_object", Bucket="weights", Key=TAR_KEY, Body=b"tar")
    publish(wire, IMAGE)
    wire.call("logs", "create_log_group", logGroupName=LOG_GROUP)
    cloud.transformed = Transformer(wire, int(now * 1000))

    def upload_document(key: str, body: bytes = b"fine", bucket: str = "inbox") -> None:
        body = beginning(key) + body
        wire.call("s3", "put_object", Bucket=bucket, Key=key, Body=body)

    return upload_document


START_COMMAND = ("transform", "start", "s3://inbox/scans/", "s3://results/md")


def list_keys(wire, bucket="results"):
    """Return the keys in a bucket, sorted."""
    return sorted(
        item["Key"]
        for item in wire.pages("s3", "list_objects_v2", "Contents", Bucket=bucket)
    )


def get_last_job_request(cloud):
    """Return the CreateTransformJob request of the last job."""
    return list(cloud.jobs.values())[-1].request
