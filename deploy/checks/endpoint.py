"""Checks of an endpoint's configuration."""

from __future__ import annotations

from deploy.checks.finding import Finding
from deploy.checks.image import region_findings, registry_findings
from deploy.checks.machines import driver_findings, family_of, instance_findings
from deploy.config import DeployConfig
from deploy.machines.catalogue import AMIS, INSTANCES

__all__ = ["config_findings"]

# Families with local disks, for which SageMaker rejects a volume size.
LOCAL_DISKS = ("g4dn", "g5", "g6", "g6e", "g7e", "p4d", "p4de", "p5", "p5e", "p5en")


def config_findings(config: DeployConfig) -> list[Finding]:
    """Return the findings about a configuration, without a call of AWS."""
    findings = [
        finding
        for name in config.endpoint.instance_types
        for finding in [
            *instance_findings(name, config.model, config.endpoint.environment),
            *_volume_findings(config, name),
        ]
    ]
    findings += _ami_findings(config)
    findings += region_findings(config)
    findings += registry_findings(config)
    if config.network.kms_key is not None:
        findings.append(
            Finding(
                "encryption",
                False,
                "local disks of GPU instances have a hardware key of their own; "
                "network.kms_key is for weights, images and other volumes",
            )
        )
    if config.capture.uri is not None:
        findings.append(
            Finding(
                "capture",
                False,
                f"documents and answers are copied to {config.capture.uri}",
            )
        )
    return findings


def _volume_findings(config: DeployConfig, name: str) -> list[Finding]:
    if config.endpoint.volume_gb is None or family_of(name) not in LOCAL_DISKS:
        return []
    return [
        Finding(
            name,
            True,
            f"SageMaker rejects endpoint.volume_gb for {name}, which has local disks",
            hint="remove volume_gb from [endpoint]",
        )
    ]


def _ami_findings(config: DeployConfig) -> list[Finding]:
    name = config.endpoint.ami
    ami = AMIS.get(name)
    if ami is None:
        return [
            Finding(
                name,
                True,
                f"{name} is not a known AMI with a GPU driver",
                hint="one of " + ", ".join(AMIS),
            )
        ]
    # The image's own CUDA version is compared later, when the image can be read.
    cuda = config.image.cuda
    findings = [] if cuda is None else driver_findings(cuda, name)
    for kind in config.endpoint.instance_types:
        known = INSTANCES.get(kind)
        if known is not None and known.gpu.needs_cuda_13 and ami.cuda < (13, 0):
            findings.append(
                Finding(
                    kind,
                    True,
                    f"the {known.gpu.name} of {kind} needs driver 580; {name} has "
                    f"{ami.driver}",
                    hint='endpoint.ami = "al2023-ami-sagemaker-inference-gpu-4-1"',
                )
            )
    return findings
