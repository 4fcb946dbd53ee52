"""Lookup of a transform job and of its existing results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from deploy.batch.job import (
    TransformJob,
    TransformState,
    Work,
    list_possible_outputs,
)
from deploy.batch.jobs import TransformJobs
from deploy.context import Context
from deploy.documents.document import Document
from deploy.errors import ConfigError, NotFoundError

__all__ = [
    "SLACK",
    "find_job",
    "refuse_another_format",
    "transforms_of",
    "without_result",
]

SLACK = timedelta(seconds=2)
"""A result from before a job is not the job's; S3's times are whole seconds."""


def transforms_of(context: Context) -> TransformJobs:
    """Return the client of the deployment's transform jobs."""
    return TransformJobs(context.aws, context.config.name)


def find_job(context: Context, name: str) -> TransformState:
    """Return a job of this deployment; raises NotFoundError if there is none."""
    state = transforms_of(context).find_job(name)
    if state is None or not state.is_ours:
        raise NotFoundError(
            f"there is no transform job {name} of deployment {context.config.name}",
            hint="chandra-sagemaker transform status",
        )
    return state


def without_result(
    work: Sequence[Work],
    results: Mapping[str, datetime],
    prefix: str,
    documents: Mapping[str, Document] | None = None,
) -> tuple[Work, ...]:
    """Return documents without a result, or with one older than the document.

    `documents` are by key; without them, any result counts.
    """
    return tuple(
        each
        for each in work
        if not _has_current_result(
            each, results, prefix, (documents or {}).get(each.key)
        )
    )


def _has_current_result(
    work: Work,
    results: Mapping[str, datetime],
    prefix: str,
    document: Document | None,
) -> bool:
    times = [
        results[key]
        for key in list_possible_outputs(work.key, prefix)
        if key in results
    ]
    if not times:
        return False
    changed = None if document is None else document.modified
    return changed is None or max(times) >= changed


def refuse_another_format(transforms: TransformJobs, job: TransformJob) -> None:
    """Raise ConfigError if the results of an output have another format.

    Results of both formats have the same names, so the job would take one for the
    other.
    """
    for each in transforms.list_own_jobs():
        before = transforms.find_job(each.name)
        if before is None or before.output != job.output or not before.accept:
            continue
        if before.accept != job.accept:
            raise ConfigError(
                f"the results in {job.output} are {before.accept}, written by job "
                f"{before.name}, and {job.accept} would have the same names",
                hint="another OUTPUT, or --force to read everything again",
            )
        return
