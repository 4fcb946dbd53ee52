"""Calls that start and stop batch transform jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from deploy.batch.job import TransformJob, TransformState
from deploy.errors import ConflictError
from deploy.plan.actions import Action, Call
from deploy.plan.calls import create_resource

__all__ = ["JobObserver", "find_or_next_job", "plan_start", "plan_stop"]


class JobObserver(Protocol):
    """Source of the states of jobs."""

    def find_job(self, name: str) -> TransformState | None:
        """Return the state of a job; None if there is no such job."""
        ...


def find_or_next_job(
    requested: TransformJob, observer: JobObserver, *, is_forced: bool = False
) -> TransformState | TransformJob:
    """Return the existing job with the same work, or else the job to start.

    Jobs cannot be deleted and keep their names, so a repetition is another attempt with
    another name. After a stopped job, the next attempt is returned; after a finished
    job only with `is_forced`. A running job is always returned. Raises ConflictError
    if a job of this name belongs to another deployment or is being stopped.
    """
    job = requested
    while state := observer.find_job(job.name):
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


def plan_start(job: TransformJob, *, has_model: bool) -> list[Action]:
    """Return the calls that start a new job; they upload its lists first.

    `has_model` is True if the SageMaker model of the job exists already.
    """
    actions: list[Action] = []
    if not has_model:
        actions.append(create_resource("model", job.model.name, job.model.request))
    actions += [
        _build_upload(job, job.manifest_key, job.manifest, "the manifest"),
        _build_upload(job, job.work_key, job.work_list, "the work list"),
    ]
    if job.left_out:
        description = "the list of documents that cannot be read"
        actions.append(
            _build_upload(job, job.left_out_key, job.left_out_list, description)
        )
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


def plan_stop(state: TransformState) -> list[Action]:
    """Return the call that stops a running job; its results are kept.

    The list is empty if the job has ended or is being stopped.

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


def _build_upload(job: TransformJob, key: str, body: bytes, description: str) -> Call:
    params: Mapping[str, object] = {"Bucket": job.bucket, "Key": key, "Body": body}
    if job.kms_key is not None:
        params = {
            **params,
            "ServerSideEncryption": "aws:kms",
            "SSEKMSKeyId": job.kms_key,
        }
    return Call(
        "s3", "put_object", params, f"upload {description} to s3://{job.bucket}/{key}"
    )
