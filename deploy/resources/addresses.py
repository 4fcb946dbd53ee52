"""Where things are on AWS: accounts and regions, images, groups of logs."""

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
    """Who calls, and where."""

    account: str
    region: str
    partition: str = "aws"
    arn: str = ""

    def sagemaker_arn(self, kind: str, name: str) -> str:
        where = f"{self.region}:{self.account}"
        return f"arn:{self.partition}:sagemaker:{where}:{kind}/{name}"

    def role_arn(self, name: str) -> str:
        return f"arn:{self.partition}:iam::{self.account}:role/{name}"

    @property
    def registry(self) -> str:
        suffix = "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"
        return f"{self.account}.dkr.ecr.{self.region}.{suffix}"


@dataclass(frozen=True, slots=True)
class ImageAddress:
    """An image in ECR, in whoever's registry."""

    account: str
    region: str
    repository: str
    digest: str


def image_address(uri: str | None) -> ImageAddress | None:
    """None for what is no image of ECR by digest."""
    found = IMAGE.fullmatch(uri or "")
    return ImageAddress(*found.groups()) if found else None


def log_group(endpoint: str) -> str:
    return f"/aws/sagemaker/Endpoints/{endpoint}"
