"""Model of SageMaker: image, weights and environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.resources.names import digest, tag_list

__all__ = ["Model", "load_seconds"]


def load_seconds(startup_timeout_seconds: int) -> int:
    """Return the handler's limit on loading the model.

    It is shorter than SageMaker's, so that the handler can log what took so long.
    """
    return max(startup_timeout_seconds - 60, startup_timeout_seconds // 2)


@dataclass(frozen=True, slots=True)
class Model:
    """Model, named after its contents."""

    prefix: str
    image: str
    role: str
    environment: Mapping[str, str]
    weights: str | None
    """The s3://bucket/prefix/ of the weights; None if the container downloads them."""
    isolation: bool
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    weights_tar: str | None = None
    """The s3://bucket/key.tar.gz that SageMaker unpacks. Batch transform does not
    support a prefix."""

    @property
    def name(self) -> str:
        return f"{self.prefix}-{digest(self.contents)}"

    @property
    def request(self) -> dict[str, Any]:
        return {
            "ModelName": self.name,
            **self.contents,
            "Tags": tag_list(self.tags),
        }

    @property
    def contents(self) -> dict[str, Any]:
        """Request without name and tags."""
        container: dict[str, Any] = {
            "Image": self.image,
            "Mode": "SingleModel",
            "Environment": dict(self.environment),
        }
        if self.weights is not None:
            container["ModelDataSource"] = {
                "S3DataSource": {
                    "S3Uri": self.weights,
                    "S3DataType": "S3Prefix",
                    "CompressionType": "None",
                }
            }
        if self.weights_tar is not None:
            container["ModelDataUrl"] = self.weights_tar
        contents: dict[str, Any] = {
            "ExecutionRoleArn": self.role,
            "EnableNetworkIsolation": self.isolation,
            "PrimaryContainer": container,
        }
        if self.subnets:
            contents["VpcConfig"] = {
                "Subnets": list(self.subnets),
                "SecurityGroupIds": list(self.security_groups),
            }
        return contents
