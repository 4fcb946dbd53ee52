"""The table [transform]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy.config.rules import check_environment, require

__all__ = ["TransformTable"]


@dataclass(frozen=True, slots=True)
class TransformTable:
    """Batch transform: machines that come for a bucket of documents, and go."""

    instance_type: str = "ml.g6e.2xlarge"
    max_instances: int = 10
    """What a plan takes at most; --instance-count may take more."""
    ami: str = "al2-ami-sagemaker-batch-gpu-535"
    weights: str = "tar"
    """tar: staged by `model stage --tar`. pull: read from S3 by the container, which
    network.isolation has to allow."""
    invocation_timeout_seconds: int = 3600
    """For one document."""
    invocation_retries: int = 1
    """Each may take as long again, and costs as much."""
    buckets: tuple[str, ...] = ()
    """Beside model.bucket: where documents are read and results written."""
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least, most in (
            ("max_instances", 1, 100),
            ("invocation_timeout_seconds", 1, 3600),
            ("invocation_retries", 0, 3),
        ):
            value = getattr(self, name)
            require(
                least <= value <= most,
                f"transform.{name} must be {least} to {most}, not {value}",
            )
        require(
            self.weights in ("tar", "pull"),
            f"transform.weights must be tar or pull, not {self.weights}",
        )
        for bucket in self.buckets:
            require(
                "/" not in bucket,
                f"transform.buckets are names without s3://, not {bucket}",
            )
        check_environment("transform.environment", self.environment)
