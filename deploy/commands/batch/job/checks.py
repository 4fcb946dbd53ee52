"""Preflight checks of a batch job."""

from __future__ import annotations

from deploy.batch.checks import check_transform_job
from deploy.batch.documents import Batch
from deploy.batch.job import TransformJob, transforms_prefix
from deploy.checks import (
    TRANSFORM_USAGE,
    Finding,
    region_findings,
)
from deploy.checks.quotas import usage_quotas
from deploy.commands.batch.job.jobs import transforms_of
from deploy.commands.batch.job.plan import JobPlan
from deploy.commands.endpoint.steps.quotas import UNKNOWN_QUOTAS, usage_findings
from deploy.config import DeployConfig
from deploy.context import Context
from deploy.documents.document import strip_scheme
from deploy.endpoint.inspection import image_findings
from deploy.machines.catalogue import INSTANCES
from deploy.policies.roles import role_findings

__all__ = ["check_job"]


def check_job(context: Context, plan: JobPlan, batch: Batch | None) -> list[Finding]:
    """Run the preflight checks of a job, which call AWS; return their findings.

    `batch` is None for a retry, whose documents were checked for the first job.
    """
    config, job = context.config, plan.job
    findings = check_transform_job(config, job)
    if not region_findings(config):
        findings += image_findings(context.aws, config, ami=job.ami)
    findings += role_findings(context.aws, config)
    tar = job.model.weights_tar
    if tar is not None and not transforms_of(context).has_object(tar):
        findings.append(
            Finding(
                "weights",
                True,
                f"there is no {tar}: batch transform accepts weights only as a tar",
                hint="chandra-sagemaker model stage --tar",
            )
        )
    if batch is not None and batch.places and job.model.isolation:
        findings.append(
            Finding(
                "manifest",
                True,
                "the container itself downloads the documents of a manifest, and those "
                "with options, from S3, which network.isolation = true blocks",
                hint="network.isolation = false, or a prefix in place of the manifest, "
                "without options",
            )
        )
    if config.role is None:
        findings += _bucket_findings(config, job, batch)
    quotas = usage_quotas(context.aws, TRANSFORM_USAGE)
    if quotas is None:
        findings.append(UNKNOWN_QUOTAS)
    else:
        machines = {job.instance_type: job.instance_count}
        findings += usage_findings(machines, quotas, TRANSFORM_USAGE)
    return findings + _slow_findings(plan)


def _bucket_findings(
    config: DeployConfig, job: TransformJob, batch: Batch | None
) -> list[Finding]:
    """Return a finding for each bucket that the role of `iam --create` cannot reach."""
    own_prefix = f"{job.bucket}/{transforms_prefix(config.name)}"
    inputs = [strip_scheme(job.prefix), *(batch.places if batch else ())]
    # The role may read, but not write, below the prefix of this deployment.
    places = [place for place in inputs if not place.startswith(own_prefix)]
    places.append(strip_scheme(job.output))
    allowed_buckets = set(config.transform.buckets)
    missing = sorted({place.partition("/")[0] for place in places} - allowed_buckets)
    return [
        Finding(
            name,
            True,
            f"role {config.role_name} has no access to bucket {name}: it is not in "
            "transform.buckets",
            hint=f'[transform] buckets = ["{name}"], then chandra-sagemaker iam '
            "--create",
        )
        for name in missing
    ]


def _slow_findings(plan: JobPlan) -> list[Finding]:
    """Return a finding if the longest document takes longer than its invocation may.

    SageMaker would then repeat the invocation, which costs as much again.
    """
    job, workload, rate = plan.job, plan.workload, plan.rate
    known = INSTANCES.get(job.instance_type)
    if known is None or rate is None:
        return []
    at_once = min(job.max_concurrent, workload.num_documents)
    seconds = workload.longest_pages * at_once / (rate.together * known.num_gpus)
    if seconds <= job.timeout_seconds:
        return []
    return [
        Finding(
            "invocation",
            False,
            f"a document of {workload.longest_pages:,} pages, beside {at_once - 1} "
            f"others, takes about {seconds:,.0f} s, and {job.timeout_seconds} s are "
            "allowed",
            hint='a manifest that names parts of it: {"document": …, "pages": "1-200"}',
        )
    ]
