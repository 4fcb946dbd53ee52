"""Names, tags and addresses of the resources that this package creates."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deploy.config import DeployConfig

__all__ = [
    "DESCRIBED_TAG",
    "LIVE_TAG",
    "OWNER_TAG",
    "REVISION_TAG",
    "STOPPED_TAG",
    "Identity",
    "ImageAddress",
    "digest",
    "image_address",
    "log_group",
    "tag_list",
    "tags_from",
    "tags_of",
]

OWNER_TAG = "chandra-torchserve:deployment"
"""Tag of every resource that this package creates; its value names the deployment. A
resource without it is never deleted."""
LIVE_TAG = "chandra-torchserve:live"
"""Tag of an endpoint config: the time at which it went into service. These tags are the
history of the endpoint."""
DESCRIBED_TAG = "chandra-torchserve:described"
"""Tag of an endpoint config: the time at which `deploy` last found that it is what
chandra.toml describes. Differences from the newest of these configs were made by
`update`, `rollback` or other programs."""
STOPPED_TAG = "chandra-torchserve:stopped"
"""Tag of an endpoint config: the time at which `stop` deleted its endpoint. An endpoint
that is gone without this tag was deleted by another program."""
REVISION_TAG = "chandra-torchserve:model-revision"


def digest(contents: object) -> str:
    """Return eight hexadecimal digits of a SHA-256 over the contents as JSON."""
    canonical = json.dumps(contents, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def tags_of(config: DeployConfig) -> dict[str, str]:
    """Return the tags of all resources of a deployment, with its owner tag."""
    return {**config.tags, OWNER_TAG: config.name}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as the list of Key and Value in requests of AWS."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tags_from(items: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the tags in a list of Key and Value, as AWS returns it, as a dict."""
    return {item["Key"]: item["Value"] for item in items}


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
    match = IMAGE.fullmatch(uri or "")
    return ImageAddress(*match.groups()) if match else None


def log_group(endpoint: str) -> str:
    """Return the log group of an endpoint's containers."""
    return f"/aws/sagemaker/Endpoints/{endpoint}"
