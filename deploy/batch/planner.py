"""Calls that start and stop batch transform jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from deploy.batch.job import TransformJob, TransformState
from deploy.errors import ConflictError
from deploy.plan.actions import Action, Call
from deploy.plan.calls import create_resource

__all__ = ["JobObserver", "find_or_next_job", "start", "stop"]


class JobObserver(Protocol):
    """Source of the states of jobs."""

    def transform(self, name: str) -> TransformState | None:
        """Return the state of a job; None if there is no such job."""
        ...


def find_or_next_job(
    requested: TransformJob, observer: JobObserver, *, is_forced: bool = False
) -> TransformState | TransformJob:
    """Return the job that does or did the same work, or the next one to start.

    Jobs cannot be deleted and keep their names, so a repetition is another attempt. A
    stopped job is continued by the next attempt; a finished job is repeated only with
    `is_forced`. Raises ConflictError for a foreign or a stopping job.
    """
    job = requested
    while state := observer.transform(job.name):
        if not state.is_ours:
            raise ConflictError(
                f"there is a transform job {job.name} already, and it is not this "
                "deployment's",
                hint="set another name in chandra.toml",
            )
        if state.status == "InProgress":
            return state
        if state.status == "Stopping":
            raise ConflictError(
                f"transform job {job.name} is being stopped",
                hint=f"chandra-sagemaker transform wait {job.name}, then the same "
                "command again",
            )
        if state.status != "Stopped" and not is_forced:
            return state
        job = replace(job, attempt=job.attempt + 1)
    return job


def start(job: TransformJob, *, has_model: bool) -> list[Action]:
    """Return the calls that start a new job.

    `has_model` is True if the SageMaker model of the job exists.
    """
    actions: list[Action] = []
    if not has_model:
        actions.append(create_resource("model", job.model.name, job.model.request))
    actions += [
        _put(job, job.manifest_key, job.manifest, "the manifest"),
        _put(job, job.work_key, job.work_list, "the work list"),
    ]
    if job.left_out:
        what = "the list of documents that cannot be read"
        actions.append(_put(job, job.left_out_key, job.left_out_list, what))
    actions.append(
        Call(
            "sagemaker",
            "create_transform_job",
            job.request,
            f"start transform job {job.name}: {len(job.work)} documents on "
            f"{job.instance_count} x {job.instance_type}, {job.max_concurrent} at once "
            "on each",
            may_exist=True,
            retry_if_missing=True,
        )
    )
    return actions


def stop(state: TransformState) -> list[Action]:
    """Return the calls that stop a job, none if it has ended; its results are kept.

    Raises ConflictError for a job of another deployment.
    """
    if not state.is_ours:
        raise ConflictError(
            f"transform job {state.name} is not this deployment's",
            hint="chandra-sagemaker transform status",
        )
    if state.status != "InProgress":
        return []
    return [
        Call(
            "sagemaker",
            "stop_transform_job",
            {"TransformJobName": state.name},
            f"stop transform job {state.name}",
        )
    ]


def _put(job: TransformJob, key: str, body: bytes, what: str) -> Call:
    params: Mapping[str, object] = {"Bucket": job.bucket, "Key": key, "Body": body}
    if job.kms_key is not None:
        params = {
            **params,
            "ServerSideEncryption": "aws:kms",
            "SSEKMSKeyId": job.kms_key,
        }
    return Call("s3", "put_object", params, f"upload {what} to s3://{job.bucket}/{key}")
