"""Preflight checks of a batch transform job."""

from __future__ import annotations

from deploy.batch.job import MAX_ENVIRONMENT, TransformJob
from deploy.checks.endpoint import region_findings
from deploy.checks.finding import Finding
from deploy.checks.machines import driver_findings, family_of, instance_findings
from deploy.config import DeployConfig, TransformWeights
from deploy.machines.catalogue import TRANSFORM_AMIS, TRANSFORM_FAMILIES

__all__ = ["check_transform_job"]


def check_transform_job(config: DeployConfig, job: TransformJob) -> list[Finding]:
    """Return the problems with which a batch transform job would fail.

    Machine type, AMI, CUDA driver, environment, weights and region are checked.
    SageMaker reports these problems only after the machines have started.
    """
    name = job.instance_type
    if family_of(name) not in TRANSFORM_FAMILIES:
        return [
            Finding(
                name,
                True,
                f"batch transform does not run on {name}: its GPU machines are "
                + ", ".join(TRANSFORM_FAMILIES),
                hint="ml.g6e.2xlarge is the best single GPU it has",
            )
        ]
    findings = instance_findings(name, config.model, job.environment)
    ami = TRANSFORM_AMIS.get(job.ami)
    if ami is None:
        findings.append(
            Finding(
                job.ami,
                True,
                f"{job.ami} is not an AMI of batch transform",
                hint="one of " + ", ".join(TRANSFORM_AMIS),
            )
        )
    elif config.image.cuda is not None:
        findings += driver_findings(config.image.cuda, job.ami)
    if len(job.environment) > MAX_ENVIRONMENT:
        findings.append(
            Finding(
                "environment",
                True,
                f"a job accepts at most {MAX_ENVIRONMENT} environment variables, not "
                f"{len(job.environment)}",
                hint="endpoint.environment belongs to the model, which accepts 100",
            )
        )
    if config.transform.weights is TransformWeights.PULL and config.network.isolation:
        findings.append(
            Finding(
                "weights",
                True,
                'transform.weights = "pull" lets the container download the weights '
                "from S3, which network.isolation = true blocks",
                hint='network.isolation = false, or transform.weights = "tar" and '
                "chandra-sagemaker model stage --tar",
            )
        )
    return findings + region_findings(config)
