"""Checks whether SageMaker can pull the image from its registry, and run it."""

from __future__ import annotations

import re

from deploy.checks.finding import Finding
from deploy.checks.machines import driver_findings, unknown_cuda_finding
from deploy.config import DeployConfig
from deploy.image.configuration import WANTED_PLATFORM, Configuration

__all__ = ["cuda_findings", "platform_findings", "region_findings", "registry_findings"]

REGISTRY = re.compile(r"\d+\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com")


def region_findings(config: DeployConfig) -> list[Finding]:
    """Check that the image is in the region of the deployment."""
    found = REGISTRY.match(config.image.uri or "")
    if found is None or config.region in (None, found[1]):
        return []
    return [
        Finding(
            "image",
            True,
            f"the image is in {found[1]}, and SageMaker in {config.region} needs one "
            "there",
            hint="chandra-sagemaker image push",
        )
    ]


def registry_findings(config: DeployConfig) -> list[Finding]:
    """Check that the image is in ECR, from which alone SageMaker pulls."""
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

    `cuda` is None for an image that names no version. Then `config_findings` compares
    image.cuda of chandra.toml.
    """
    written = config.image.cuda
    if cuda is None:
        return (
            [unknown_cuda_finding(ami, "the image does not name it")]
            if written is None
            else []
        )
    if written is None:
        return driver_findings(cuda, ami)
    if written == cuda:
        return []
    return [
        Finding(
            "image",
            False,
            f"image.cuda is {written} in chandra.toml, and the image says that it is "
            f"built for CUDA {cuda}",
            hint="remove cuda from [image] in chandra.toml",
        ),
        *driver_findings(cuda, ami),
    ]
