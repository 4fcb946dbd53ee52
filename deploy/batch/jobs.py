"""Batch transform jobs: what they are doing, what they were given, what came out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deploy.aws.client import AWSClient
from deploy.batch.job import TransformState, Work
from deploy.batch.outcome import Failure
from deploy.documents.document import split_uri
from deploy.endpoint.account import Account
from deploy.errors import AccessDeniedError, NotFoundError
from deploy.resources import OWNER_TAG

__all__ = ["JobSummary", "Result", "Transforms"]


@dataclass(frozen=True, slots=True)
class Result:
    """An object below a job's output."""

    key: str
    """Below it."""
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job, as a list shows it."""

    name: str
    status: str
    created: datetime


class Transforms:
    """Asks AWS each time; remembers nothing."""

    def __init__(self, aws: AWSClient, deployment: str) -> None:
        self._aws = aws
        self._account = Account(aws)
        self._deployment = deployment

    def has_model(self, name: str) -> bool:
        return self._account.has_model(name)

    def transform(self, name: str) -> TransformState | None:
        try:
            answer = self._aws.call(
                "sagemaker", "describe_transform_job", TransformJobName=name
            )
        except NotFoundError:
            return None
        source = answer["TransformInput"]["DataSource"]["S3DataSource"]
        machines = answer["TransformResources"]
        tags = self._account.tags(answer["TransformJobArn"])
        is_list = source["S3DataType"] == "ManifestFile"
        return TransformState(
            name=name,
            status=answer["TransformJobStatus"],
            model=answer["ModelName"],
            manifest=source["S3Uri"] if is_list else None,
            output=answer["TransformOutput"]["S3OutputPath"],
            accept=answer["TransformOutput"].get("Accept", ""),
            content_type=answer["TransformInput"].get("ContentType", ""),
            instance_type=machines["InstanceType"],
            instance_count=machines["InstanceCount"],
            environment=answer.get("Environment") or {},
            failure=answer.get("FailureReason") or None,
            created=answer.get("CreationTime"),
            started=answer.get("TransformStartTime"),
            ended=answer.get("TransformEndTime"),
            is_ours=tags.get(OWNER_TAG) == self._deployment,
        )

    def own_jobs(self, *, status: str | None = None) -> Iterator[JobSummary]:
        """Newest first. Tags are read of those only whose names begin as ours do, and
        only as far as somebody asks."""
        begin = f"{self._deployment}-"
        narrowed = {} if status is None else {"StatusEquals": status}
        found = self._aws.pages(
            "sagemaker",
            "list_transform_jobs",
            "TransformJobSummaries",
            NameContains=begin,
            **narrowed,
        )
        named = [item for item in found if item["TransformJobName"].startswith(begin)]
        for item in sorted(named, key=lambda job: job["CreationTime"], reverse=True):
            tags = self._account.tags(item["TransformJobArn"])
            if tags.get(OWNER_TAG) == self._deployment:
                yield JobSummary(
                    item["TransformJobName"],
                    item["TransformJobStatus"],
                    item["CreationTime"],
                )

    def work(self, state: TransformState) -> tuple[str, tuple[Work, ...]]:
        """The prefix of a job's objects, and what each of them is.

        Raises NotFoundError where its list is gone or was never ours.
        """
        if state.manifest is None:
            raise NotFoundError(
                f"transform job {state.name} was not started by this program: what it "
                "reads is not listed",
                hint="aws sagemaker describe-transform-job --transform-job-name "
                f"{state.name}",
            )
        entries = self._read(state.manifest)
        beside = state.manifest.rpartition("/")[0] + "/work.json"
        work = [Work(**each) for each in self._read(beside)]
        return str(entries[0]["prefix"]), tuple(work)

    def left_out(self, state: TransformState) -> tuple[Failure, ...]:
        """Return the documents that were asked for with a job and not given to it."""
        if state.manifest is None:
            return ()
        beside = state.manifest.rpartition("/")[0] + "/left_out.json"
        try:
            return tuple(Failure(**each) for each in self._read(beside))
        except (NotFoundError, AccessDeniedError):
            # There were none. Who may not list a bucket is told 403 of what is absent.
            return ()

    def results(self, output: str) -> Iterator[Result]:
        """Everything below an output; a bucket that is not there has nothing."""
        bucket, prefix = split_uri(output)
        try:
            for item in self._aws.objects(bucket, prefix):
                key = str(item["Key"]).removeprefix(prefix)
                yield Result(key, item["Size"], item["LastModified"])
        except NotFoundError:
            return

    def result(self, output: str, key: str) -> bytes:
        """One of them."""
        bucket, prefix = split_uri(output)
        answer = self._aws.call("s3", "get_object", Bucket=bucket, Key=f"{prefix}{key}")
        content: bytes = answer["Body"].read()
        return content

    def has_object(self, uri: str) -> bool:
        bucket, key = split_uri(uri)
        try:
            self._aws.call("s3", "head_object", Bucket=bucket, Key=key)
        except NotFoundError:
            return False
        return True

    def _read(self, uri: str) -> Sequence[Any]:
        bucket, key = split_uri(uri)
        answer = self._aws.call("s3", "get_object", Bucket=bucket, Key=key)
        content: Sequence[Any] = json.loads(answer["Body"].read())
        return content
