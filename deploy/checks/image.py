"""Whether SageMaker can pull the image from where it is."""

from __future__ import annotations

import re

from deploy.checks.finding import Finding
from deploy.config import DeployConfig

__all__ = ["region_findings", "registry_findings"]

REGISTRY = re.compile(r"\d+\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com")


def region_findings(config: DeployConfig) -> list[Finding]:
    """A registry has the region in its name: of the digest pushed last, perhaps."""
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
    """SageMaker pulls from ECR."""
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
