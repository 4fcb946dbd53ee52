"""How what we make is named, and known to be ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from deploy.config import DeployConfig

__all__ = [
    "DESCRIBED_TAG",
    "LIVE_TAG",
    "OWNER_TAG",
    "REVISION_TAG",
    "STOPPED_TAG",
    "digest",
    "tag_list",
    "tags_from",
    "tags_of",
]

OWNER_TAG = "chandra-torchserve:deployment"
"""On everything we make; nothing without it is ever deleted."""
LIVE_TAG = "chandra-torchserve:live"
"""On an endpoint config: when it went into service. The history of the endpoint."""
DESCRIBED_TAG = "chandra-torchserve:described"
"""On an endpoint config: when `deploy` last found it to be what chandra.toml describes.
What differs from the newest of these was changed by `update`, `rollback` or others."""
STOPPED_TAG = "chandra-torchserve:stopped"
"""On an endpoint config: when `stop` deleted the endpoint that had it. An endpoint
that is gone without it was deleted by something else."""
REVISION_TAG = "chandra-torchserve:model-revision"


def digest(contents: object) -> str:
    """Eight digits that change when the contents do."""
    canonical = json.dumps(contents, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def tags_of(config: DeployConfig) -> dict[str, str]:
    """On everything this deployment makes."""
    return {**config.tags, OWNER_TAG: config.name}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as SageMaker, ECR, CloudWatch and IAM take them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def tags_from(items: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Tags as we hold them, of those that AWS lists."""
    return {item["Key"]: item["Value"] for item in items}
