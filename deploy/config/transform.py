"""Table [transform] of chandra.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy.config.rules import check_environment, require

__all__ = ["TransformTable"]


@dataclass(frozen=True, slots=True)
class TransformTable:
    """Settings of batch transform jobs, which read all documents of a bucket."""

    instance_type: str = "ml.g6e.2xlarge"
    max_instances: int = 10
    """Most machines that a plan chooses; --instance-count may ask for more."""
    ami: str = "al2-ami-sagemaker-batch-gpu-535"
    weights: str = "tar"
    """tar: staged by `model stage --tar`. pull: the container reads them from S3, which
    needs network.isolation = false."""
    invocation_timeout_seconds: int = 3600
    """Limit for one document."""
    invocation_retries: int = 1
    """Retries of a document; each may take and cost as much again."""
    buckets: tuple[str, ...] = ()
    """Buckets of documents and results, in addition to model.bucket."""
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
