"""Batch transform jobs of the account: state, inputs and results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deploy.aws.client import AWSClient
from deploy.batch.job import TransformState, Work
from deploy.batch.outcome import FailedDocument
from deploy.documents.document import split_uri
from deploy.endpoint.account import Account
from deploy.errors import AccessDeniedError, NotFoundError
from deploy.resources import OWNER_TAG

__all__ = ["JobSummary", "TransformJobs"]


@dataclass(frozen=True, slots=True)
class JobSummary:
    """Job as ListTransformJobs returns it."""

    name: str
    status: str
    created: datetime


class TransformJobs:
    """Batch transform jobs of one deployment; nothing is cached."""

    def __init__(self, aws: AWSClient, deployment: str) -> None:
        self._aws = aws
        self._account = Account(aws)
        self._deployment = deployment

    def find_job(self, name: str) -> TransformState | None:
        """Return the state of a job and whose it is; None if there is no such job."""
        try:
            answer = self._aws.call(
                "sagemaker", "describe_transform_job", TransformJobName=name
            )
        except NotFoundError:
            return None
        tags = self._account.tags(answer["TransformJobArn"])
        return _parse_state(answer, is_ours=tags.get(OWNER_TAG) == self._deployment)

    def poll_job(self, name: str) -> TransformState | None:
        """Return the state of a job without reading its tags; None if there is no job.

        The state always has `is_ours` True, so the caller must have checked the owner
        with `find_job` before.
        """
        try:
            answer = self._aws.call(
                "sagemaker", "describe_transform_job", TransformJobName=name
            )
        except NotFoundError:
            return None
        return _parse_state(answer, is_ours=True)

    def list_own_jobs(self, *, status: str | None = None) -> Iterator[JobSummary]:
        """Yield the jobs of this deployment, newest first.

        Tags are requested only for jobs whose names begin with the deployment's, and
        only as far as the iterator is consumed.
        """
        name_prefix = f"{self._deployment}-"
        filters = {} if status is None else {"StatusEquals": status}
        summaries = self._aws.pages(
            "sagemaker",
            "list_transform_jobs",
            "TransformJobSummaries",
            NameContains=name_prefix,
            **filters,
        )
        items = [
            item
            for item in summaries
            if item["TransformJobName"].startswith(name_prefix)
        ]
        for item in sorted(items, key=lambda job: job["CreationTime"], reverse=True):
            tags = self._account.tags(item["TransformJobArn"])
            if tags.get(OWNER_TAG) == self._deployment:
                yield JobSummary(
                    item["TransformJobName"],
                    item["TransformJobStatus"],
                    item["CreationTime"],
                )

    def read_work(self, state: TransformState) -> tuple[str, tuple[Work, ...]]:
        """Return the prefix of a job's objects, and the objects of its work list.

        Raises NotFoundError if the list was deleted or this program did not start the
        job.
        """
        if state.manifest is None:
            raise NotFoundError(
                f"transform job {state.name} was not started by this program: "
                "there is no list of its documents",
                hint="aws sagemaker describe-transform-job --transform-job-name "
                f"{state.name}",
            )
        entries = self._read_json(state.manifest)
        work_uri = state.manifest.rpartition("/")[0] + "/work.json"
        work = [Work(**item) for item in self._read_json(work_uri)]
        return str(entries[0]["prefix"]), tuple(work)

    def read_left_out(self, state: TransformState) -> tuple[FailedDocument, ...]:
        """Return the documents that were requested with a job and not given to it.

        The result is empty if the list does not exist or may not be read.
        """
        if state.manifest is None:
            return ()
        left_out_uri = state.manifest.rpartition("/")[0] + "/left_out.json"
        try:
            return tuple(
                FailedDocument(**item) for item in self._read_json(left_out_uri)
            )
        except (NotFoundError, AccessDeniedError):
            # Without s3:ListBucket, S3 answers 403 for an object that does not exist.
            return ()

    def list_results(
        self, output: str, *, since: datetime | None = None
    ) -> dict[str, datetime]:
        """Return the time at which each result below an output was written, by its key.

        Results older than `since` are left out. The result is empty if the bucket does
        not exist. Keys are relative to the output.
        """
        bucket, prefix = split_uri(output)
        try:
            objects = list(self._aws.objects(bucket, prefix))
        except NotFoundError:
            return {}
        return {
            str(item["Key"]).removeprefix(prefix): item["LastModified"]
            for item in objects
            if item["Key"].endswith(".out")
            and (since is None or item["LastModified"] >= since)
        }

    def read_result(self, output: str, key: str) -> bytes:
        """Return the bytes of one result; `key` is relative to the output."""
        bucket, prefix = split_uri(output)
        answer = self._aws.call("s3", "get_object", Bucket=bucket, Key=f"{prefix}{key}")
        content: bytes = answer["Body"].read()
        return content

    def has_object(self, uri: str) -> bool:
        """Return whether an object of S3 exists; `uri` is s3://bucket/key."""
        bucket, key = split_uri(uri)
        try:
            self._aws.call("s3", "head_object", Bucket=bucket, Key=key)
        except NotFoundError:
            return False
        return True

    def _read_json(self, uri: str) -> Sequence[Any]:
        bucket, key = split_uri(uri)
        answer = self._aws.call("s3", "get_object", Bucket=bucket, Key=key)
        content: Sequence[Any] = json.loads(answer["Body"].read())
        return content


def _parse_state(answer: Mapping[str, Any], *, is_ours: bool) -> TransformState:
    """Return the state of a job from the response to DescribeTransformJob."""
    source = answer["TransformInput"]["DataSource"]["S3DataSource"]
    machines = answer["TransformResources"]
    is_list = source["S3DataType"] == "ManifestFile"
    return TransformState(
        name=answer["TransformJobName"],
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
        is_ours=is_ours,
    )
