"""How `transform` starts a job: what is there, what it takes, what it costs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.aws.objects import Bucketed
from deploy.batches import Batch, batch_from, workload_of
from deploy.commands.context import Context
from deploy.commands.job_checks import (
    findings_of,
    price_lines,
    rate_on,
    slow_findings,
)
from deploy.commands.job_inputs import paged, reached, upload
from deploy.commands.job_summary import NUM_NAMED, failure_lines, tell
from deploy.commands.job_watch import summed_up, to_retry, watched
from deploy.commands.jobs import (
    found,
    refuse_another_format,
    results_of,
    transforms_of,
    without_result,
)
from deploy.commands.wanted import refuse_if_fatal
from deploy.documents import Refused, split_uri
from deploy.errors import ConfigError, ConflictError, Interrupted
from deploy.finding import MANIFESTS, find_documents
from deploy.outcome import Failure
from deploy.pages import num_pages_of
from deploy.resources import tags_of
from deploy.sizing import size
from deploy.transform_planner import known_or_next, start
from deploy.transforms import (
    MAX_PAYLOAD_MB,
    TransformJob,
    TransformState,
    transform_model_from,
)

__all__ = ["retried", "started"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for, before it is known whether anything is left to do."""

    job: TransformJob
    batch: Batch | None = None
    """What has to be uploaded first; None where all of it lies there already."""
    refused: Sequence[Refused] = ()
    left_out: Sequence[Failure] = field(default_factory=list)
    """Documents that were asked for by name and are in no job."""
    is_retry: bool = False
    """All of it is to be read, also what has a result."""


def started(
    context: Context,
    options: argparse.Namespace,
    uri: str,
    output: str,
    accept: str,
) -> int:
    """Documents found, those without a result read."""
    config = context.config
    bucket, prefix = split_uri(output)
    output = f"s3://{bucket}/{prefix.strip('/')}/" if prefix else f"s3://{bucket}/"
    is_manifest = Path(uri).suffix.lower() in MANIFESTS
    documents = find_documents(
        [uri], Bucketed(context.aws), accept=accept, count=num_pages_of
    )
    kept, refused = reached(config, documents, is_manifest=is_manifest)
    batch = batch_from(
        uri,
        kept,
        deployment=config.name,
        bucket=config.model.bucket,
        is_manifest=is_manifest,
    )
    left_out = [
        Failure(each.source, each.code, each.reason)
        for each in refused
        if each.is_named
    ]
    left_out += [
        Failure(
            document.name,
            "document_too_large",
            f"batch transform sends {MAX_PAYLOAD_MB} MB at most: name it in a "
            "manifest, and the container fetches it",
        )
        for document in batch.too_large
    ]
    if not batch.work:
        raise ConfigError(
            f"there is no document at {uri} that batch transform would send",
            hint="; ".join(sorted({f"{each.reason}" for each in left_out}))
            or "PDFs and images are read",
        )
    job = _job(context, options, batch, output, accept)
    return _go_on(context, options, Wish(job, batch, refused, left_out))


def retried(context: Context, options: argparse.Namespace) -> int:
    """The documents of a job that have no result, read in the same way."""
    transforms = transforms_of(context)
    state = found(context, options.retry_failed)
    if state.is_changing:
        raise ConflictError(
            f"transform job {state.name} is {state.status}: what fails is not known "
            "yet",
            hint=f"chandra-sagemaker transform wait {state.name}",
        )
    prefix, work = transforms.work(state)
    left = to_retry(context, state)
    if not left:
        context.console.result(
            {"job": state.name, "documents": len(work), "failed": 0},
            [f"every document of transform job {state.name} has its result"],
        )
        return 0
    batch = Batch(prefix, left, state.content_type, documents={})
    job = replace(
        _job(context, options, batch, state.output, state.accept),
        environment=state.environment,
        of=state.name,
    )
    return _go_on(context, options, Wish(job, is_retry=True))


def _job(
    context: Context,
    options: argparse.Namespace,
    batch: Batch,
    output: str,
    accept: str,
) -> TransformJob:
    config, table = context.config, context.config.transform
    if config.model.bucket is None:
        raise ConfigError(
            "model.bucket is not set: the list of a job's objects lies there",
            hint="set [model] bucket in chandra.toml",
        )
    environment = dict(table.environment)
    if batch.places:
        environment["DOCUMENT_BUCKETS"] = ",".join(batch.places)
    return TransformJob(
        owner=config.name,
        model=transform_model_from(config, context.identity),
        bucket=config.model.bucket,
        prefix=batch.prefix,
        wanted=batch.work,
        work=batch.work,
        output=output,
        accept=accept,
        content_type=batch.content_type,
        instance_type=options.instance_type or table.instance_type,
        timeout_seconds=table.invocation_timeout_seconds,
        max_retries=table.invocation_retries,
        ami=table.ami,
        environment=environment,
        kms_key=config.network.kms_key,
        tags=tags_of(config),
    )


def _go_on(context: Context, options: argparse.Namespace, wish: Wish) -> int:
    config = context.config
    _say_refused(context, wish.refused)
    transforms = transforms_of(context)
    job = known_or_next(wish.job, transforms, is_forced=options.force)
    if isinstance(job, TransformState):
        return _again(context, options, job, wish)
    work = job.work
    if not options.force and not wish.is_retry:
        documents = None if wish.batch is None else wish.batch.documents
        results = results_of(transforms, job.output)
        work = without_result(work, results, job.prefix, documents)
        if len(work) < len(job.work):
            refuse_another_format(transforms, job)
        num_there = len(job.work) - len(work)
        if num_there:
            context.console.say(
                f"{num_there} of {len(job.work)} documents have their result in "
                f"{job.output} already: --force reads them again"
            )
    if not work:
        context.console.result(
            {
                "job": None,
                "documents": len(job.work),
                "read": len(job.work),
                "left_out": [failure.to_json() for failure in wish.left_out],
            },
            [
                *failure_lines(wish.left_out),
                "nothing is left to read, and nothing to pay",
            ],
        )
        return 1 if wish.left_out else 0
    work = paged(context, wish.batch, work)
    rate = rate_on(job.instance_type, options.results)
    workload = workload_of(work)
    sizing = size(
        workload,
        job.instance_type,
        rate,
        weights_gb=config.model.weights_gb,
        instance_count=options.instance_count,
        within_hours=options.within,
        max_instances=config.transform.max_instances,
    )
    job = replace(
        job,
        work=work,
        instance_count=sizing.instance_count,
        max_concurrent=sizing.max_concurrent,
        max_payload_mb=sizing.max_payload_mb,
    )
    refuse_if_fatal(
        context,
        [
            *findings_of(context, job, wish.batch),
            *slow_findings(job, workload, rate),
        ],
    )
    actions = start(job, transforms)
    for line in price_lines(job, sizing, rate, workload.num_pages):
        context.console.say(line)
    data = {
        "job": job.name,
        "documents": len(work),
        "pages_estimate": workload.num_pages,
        "sizing": sizing.to_json(),
        "actions": [action.to_json() for action in actions],
        "refused": [
            {"document": each.source, **each.to_json()} for each in wish.refused
        ],
        "left_out": [failure.to_json() for failure in wish.left_out],
    }
    upload(context, wish.batch, work)
    try:
        context.run(actions)
    except Interrupted as interrupted:
        raise Interrupted(
            f"{interrupted.sentence}, and `chandra-sagemaker transform status` its jobs"
        ) from None
    if context.is_dry_run:
        context.console.result(data)
        return 0
    if not options.wait:
        context.console.result(
            data,
            [
                *failure_lines(wish.left_out),
                f"transform job {job.name} is on its way",
                f"next: chandra-sagemaker transform wait {job.name}",
            ],
        )
        return 1 if wish.left_out else 0
    summary = watched(
        context, found(context, job.name), timeout_seconds=options.timeout
    )
    return tell(context, summary, left_out=wish.left_out)


def _say_refused(context: Context, refused: Sequence[Refused]) -> None:
    """Of what lay in a folder; who was asked for by name is told with the failures."""
    unnamed = [each for each in refused if not each.is_named]
    for each in unnamed[:NUM_NAMED]:
        context.console.say(f"left out: {each}")
    if len(unnamed) > NUM_NAMED:
        context.console.say(f"left out: {len(unnamed) - NUM_NAMED} more")


def _again(
    context: Context, options: argparse.Namespace, state: TransformState, wish: Wish
) -> int:
    """The same was asked for before."""
    if not state.is_changing:
        context.console.say(
            f"transform job {state.name} did this already: --force does it again"
        )
        return tell(context, summed_up(context, state), left_out=wish.left_out)
    context.console.say(f"transform job {state.name} is doing this already")
    if context.is_dry_run or not options.wait:
        return tell(context, summed_up(context, state), left_out=wish.left_out)
    summary = watched(context, state, timeout_seconds=options.timeout)
    return tell(context, summary, left_out=wish.left_out)
