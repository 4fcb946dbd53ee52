"""Checks of an endpoint's configuration and of its image."""

from __future__ import annotations

import re

from deploy.checks.finding import Finding
from deploy.checks.machines import (
    driver_findings,
    family_of,
    instance_findings,
    unknown_cuda_finding,
)
from deploy.config import DeployConfig
from deploy.image.configuration import WANTED_PLATFORM, Configuration
from deploy.machines.catalogue import AMIS, INSTANCES

__all__ = [
    "config_findings",
    "cuda_findings",
    "platform_findings",
    "region_findings",
    "registry_findings",
]

# Families with local disks, for which SageMaker rejects a volume size.
LOCAL_DISKS = ("g4dn", "g5", "g6", "g6e", "g7e", "p4d", "p4de", "p5", "p5e", "p5en")


def config_findings(config: DeployConfig) -> list[Finding]:
    """Return the findings about a configuration, without calling AWS.

    They are about instance types, the AMI, the address of the image, encryption and
    data capture.
    """
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
    """Check that endpoint.volume_gb is not set for a type with local disks."""
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
    """Check that the AMI is known, and its driver suits image.cuda and the GPUs."""
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


REGISTRY = re.compile(r"\d+\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com")


def region_findings(config: DeployConfig) -> list[Finding]:
    """Check that the image is in the region of the deployment.

    Returns no finding if the region is not set, or the image is not in ECR.
    """
    match = REGISTRY.match(config.image.uri or "")
    if match is None or config.region in (None, match[1]):
        return []
    return [
        Finding(
            "image",
            True,
            f"the image is in {match[1]}, and SageMaker in {config.region} needs one "
            "there",
            hint="chandra-sagemaker image push",
        )
    ]


def registry_findings(config: DeployConfig) -> list[Finding]:
    """Check that the image is in ECR, because SageMaker pulls from ECR only.

    Returns no finding if there is no image yet.
    """
    host, slash, _ = (config.image.uri or "").partition("/")
    if not slash or re.match(r"\d+\.dkr\.ecr(-fips)?\.", host) is not None:
        return []
    return [
        Finding(
            "image",
            True,
            f"the image is in {host}, and SageMaker pulls from ECR only",
            hint="chandra-sagemaker image push, and no image.uri in chandra.toml",
        )
    ]


def platform_findings(configuration: Configuration) -> list[Finding]:
    """Check that an image is for the processors of SageMaker's GPU machines."""
    if configuration.runs_on_sagemaker:
        return []
    return [
        Finding(
            "image",
            True,
            f"the image is for {configuration.platform}, and SageMaker's GPU machines "
            f"are {WANTED_PLATFORM}: the container would not start",
            hint=f"chandra-sagemaker image push builds one for {WANTED_PLATFORM}",
        )
    ]


def cuda_findings(config: DeployConfig, cuda: str | None, ami: str) -> list[Finding]:
    """Compare the CUDA version that an image names with the driver of an AMI.

    If the image names another version than image.cuda of chandra.toml, a note says so.
    `cuda` is None for an image that names no version. Then the only finding is a note
    that nothing was compared, if image.cuda is not set either; `config_findings`
    compares image.cuda with the driver.
    """
    configured = config.image.cuda
    if cuda is None:
        return (
            [unknown_cuda_finding(ami, "the image does not name it")]
            if configured is None
            else []
        )
    if configured is None:
        return driver_findings(cuda, ami)
    if configured == cuda:
        return []
    return [
        Finding(
            "image",
            False,
            f"image.cuda is {configured} in chandra.toml, and the image says that it "
            f"is built for CUDA {cuda}",
            hint="remove cuda from [image] in chandra.toml",
        ),
        *driver_findings(cuda, ami),
    ]
