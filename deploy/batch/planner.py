"""Which calls start a job, or which job did the same already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from deploy.batch.job import TransformJob, TransformState
from deploy.errors import ConflictError
from deploy.plan.actions import Action, Call
from deploy.plan.calls import create

__all__ = ["JobObserver", "find_or_next_job", "start", "stop"]


class JobObserver(Protocol):
    """What has to be known."""

    def has_model(self, name: str) -> bool: ...
    def transform(self, name: str) -> TransformState | None: ...


def find_or_next_job(
    wanted: TransformJob, observer: JobObserver, *, is_forced: bool = False
) -> TransformState | TransformJob:
    """The job that did the same, or is doing it; else the one to start.

    A job cannot be deleted, so its name is taken for ever: the next is an attempt. One
    that was stopped is gone on from; one that ended is done again by force only.
    """
    job = wanted
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


def start(job: TransformJob, observer: JobObserver) -> list[Action]:
    """The calls that start a job that is not there yet."""
    actions: list[Action] = []
    if not observer.has_model(job.model.name):
        actions.append(create("model", job.model.name, job.model.request))
    actions += [
        _put(job, job.manifest_key, job.manifest, "the list of its objects"),
        _put(job, job.work_key, job.work_list, "what they are"),
    ]
    if job.left_out:
        what = "what was asked for and cannot be read"
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
            is_patient=True,
        )
    )
    return actions


def stop(state: TransformState) -> list[Action]:
    """What was read stays; a job that has ended needs nothing."""
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
    return Call("s3", "put_object", params, f"put {what} at s3://{job.bucket}/{key}")
