"""Addresses on AWS: accounts and regions, images, log groups."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Identity", "ImageAddress", "image_address", "log_group"]

IMAGE = re.compile(
    r"(\d{12})\.dkr\.ecr(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?"
    r"/([^@:]+)(?::[^@]+)?@(sha256:.+)"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Account, region and ARN of the caller."""

    account: str
    region: str
    partition: str = "aws"
    arn: str = ""

    def sagemaker_arn(self, kind: str, name: str) -> str:
        """Return the ARN of a SageMaker resource, such as kind "endpoint"."""
        where = f"{self.region}:{self.account}"
        return f"arn:{self.partition}:sagemaker:{where}:{kind}/{name}"

    def role_arn(self, name: str) -> str:
        """Return the ARN of a role."""
        return f"arn:{self.partition}:iam::{self.account}:role/{name}"

    @property
    def registry(self) -> str:
        """Host of the account's ECR registry."""
        suffix = "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"
        return f"{self.account}.dkr.ecr.{self.region}.{suffix}"


@dataclass(frozen=True, slots=True)
class ImageAddress:
    """Image in the ECR registry of any account."""

    account: str
    region: str
    repository: str
    digest: str


def image_address(uri: str | None) -> ImageAddress | None:
    """Return the address in an image URI; None if it is not an ECR image by digest."""
    found = IMAGE.fullmatch(uri or "")
    return ImageAddress(*found.groups()) if found else None


def log_group(endpoint: str) -> str:
    """Return the log group of an endpoint's containers."""
    return f"/aws/sagemaker/Endpoints/{endpoint}"
