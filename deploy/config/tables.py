"""Tables of chandra.toml, with the limits of their settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from deploy.config.rules import check_environment, require

__all__ = [
    "AsynchronousTable",
    "CaptureTable",
    "EndpointTable",
    "ImageTable",
    "ModelSource",
    "ModelTable",
    "NetworkTable",
    "TransformTable",
    "TransformWeights",
    "UpdateStrategy",
    "UpdateTable",
]


class ModelSource(StrEnum):
    """Place from which the container of an endpoint gets the weights."""

    S3 = "s3"
    """`model stage` staged them."""
    HUB = "hub"
    """The container downloads them at start."""


class UpdateStrategy(StrEnum):
    """Order in which an update replaces the machines of a running endpoint."""

    BLUE_GREEN = "blue-green"
    """The old machines serve until the new ones do."""
    RECREATE = "recreate"
    """The endpoint is deleted first; callers get errors until the new one serves."""


class TransformWeights(StrEnum):
    """Form in which the container of a batch transform job gets the weights."""

    TAR = "tar"
    """`model stage --tar` staged an archive, which SageMaker unpacks."""
    PULL = "pull"
    """The container reads them from S3, which needs network.isolation = false."""


@dataclass(frozen=True, slots=True)
class ImageTable:
    """Settings of the image: what is built, and its repository."""

    repository: str = "chandra-torchserve"
    uri: str | None = None
    """Image by digest, instead of the one in chandra.lock.json."""
    tag: str | None = None
    """Tag that it was pushed with; for information only."""
    cuda: str | None = None
    """CUDA version that the image was built for, if the image itself does not name
    it."""
    dockerfile: str = "Dockerfile"
    context: str = "."
    keep: int = 10
    """Number of images that the repository keeps."""

    def __post_init__(self) -> None:
        require(self.keep >= 1, f"image.keep must be at least 1, not {self.keep}")
        require(
            self.cuda is None or re.fullmatch(r"\d+\.\d+", self.cuda) is not None,
            f"image.cuda must look like 12.8, not {self.cuda}",
        )
        require(
            self.uri is None or "@sha256:" in self.uri,
            f"image.uri must name a digest (…@sha256:…), not {self.uri}: "
            "a tag can be moved under a running endpoint",
        )

    def with_uri(self, uri: str | None) -> ImageTable:
        """Return this table with another image URI.

        `cuda` describes the image of this table. It is dropped for any other digest.
        """
        old, new = ((address or "").rpartition("@")[2] for address in (self.uri, uri))
        return replace(self, uri=uri, cuda=self.cuda if old == new else None)


@dataclass(frozen=True, slots=True)
class ModelTable:
    """Settings of the weights: model, revision and location."""

    id: str = "datalab-to/chandra"
    revision: str | None = None
    """Commit on the hub, instead of the one in chandra.lock.json."""
    source: ModelSource = ModelSource.S3
    bucket: str | None = None
    prefix: str = "models"
    weights_gb: float = 17.5
    """GPU memory that the weights take."""

    def __post_init__(self) -> None:
        require(self.weights_gb > 0, "model.weights_gb must be above 0")
        require(
            self.bucket is None or not self.bucket.startswith("s3://"),
            f"model.bucket is a name without s3://, not {self.bucket}",
        )


@dataclass(frozen=True, slots=True)
class EndpointTable:
    """Settings of the endpoint's machines."""

    instance_types: tuple[str, ...] = ("ml.g6e.2xlarge",)
    """Of several types, the first that has capacity is used, in this order."""
    instance_count: int = 1
    ami: str = "al2-ami-sagemaker-inference-gpu-3-1"
    startup_timeout_seconds: int = 1200
    download_timeout_seconds: int = 1200
    provision_timeout_seconds: int = 1200
    """Limit for each of several instance types, before the next one is tried."""
    volume_gb: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = self.instance_types
        require(bool(kinds), "endpoint.instance_types must name at least one")
        require(len(kinds) <= 5, f"endpoint.instance_types allows 5, not {len(kinds)}")
        require(
            len(set(kinds)) == len(kinds), "endpoint.instance_types names one twice"
        )
        require(
            self.instance_count >= 1,
            f"endpoint.instance_count must be at least 1, not {self.instance_count}; "
            "to stop paying, run `chandra-sagemaker stop`",
        )
        for name, least in (
            ("startup_timeout_seconds", 60),
            ("download_timeout_seconds", 60),
            ("provision_timeout_seconds", 300),
        ):
            value = getattr(self, name)
            require(
                least <= value <= 3600,
                f"endpoint.{name} must be {least} to 3600, not {value}",
            )
        require(
            self.volume_gb is None or 1 <= self.volume_gb <= 512,
            f"endpoint.volume_gb must be 1 to 512, not {self.volume_gb}",
        )
        check_environment("endpoint.environment", self.environment)


@dataclass(frozen=True, slots=True)
class NetworkTable:
    """Settings of the container's network, and of encryption."""

    isolation: bool = True
    """True gives the container no network. SageMaker still mounts weights from S3."""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    kms_key: str | None = None
    """Key for weights and images, and for volumes of instances without local disks."""

    def __post_init__(self) -> None:
        require(
            bool(self.subnets) == bool(self.security_groups),
            "network.subnets and network.security_groups go together",
        )


@dataclass(frozen=True, slots=True)
class UpdateTable:
    """Settings of updates of a running endpoint."""

    strategy: UpdateStrategy = UpdateStrategy.BLUE_GREEN
    bake_seconds: int = 600
    """Time for which the old machines stay, so that an alarm can roll back to them."""
    use_alarms: bool = True
    """True rolls back on the alarms that `chandra-sagemaker alarms` created."""

    def __post_init__(self) -> None:
        require(
            0 <= self.bake_seconds <= 3600,
            f"update.bake_seconds must be 0 to 3600, not {self.bake_seconds}",
        )


@dataclass(frozen=True, slots=True)
class CaptureTable:
    """Settings of data capture, which copies requests and replies to S3.

    It is off by default, because they are customers' documents.
    """

    uri: str | None = None
    """The s3:// address that gets the copies; None turns data capture off."""
    percent: int = 100
    """Share of the requests that are copied."""

    def __post_init__(self) -> None:
        require(
            self.uri is None or self.uri.startswith("s3://"),
            f"capture.uri must begin with s3://, not be {self.uri}",
        )
        require(
            0 <= self.percent <= 100,
            f"capture.percent must be 0 to 100, not {self.percent}",
        )


@dataclass(frozen=True, slots=True)
class TransformTable:
    """Settings of batch transform jobs, which read all documents of a bucket."""

    instance_type: str = "ml.g6e.2xlarge"
    max_instances: int = 10
    """Most machines that a plan chooses; --instance-count may ask for more."""
    ami: str = "al2-ami-sagemaker-batch-gpu-535"
    weights: TransformWeights = TransformWeights.TAR
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
        for bucket in self.buckets:
            require(
                "/" not in bucket,
                f"transform.buckets are names without s3://, not {bucket}",
            )
        check_environment("transform.environment", self.environment)


@dataclass(frozen=True, slots=True)
class AsynchronousTable:
    """Settings of the asynchronous endpoint, which `async deploy` creates."""

    bucket: str | None = None
    """Bucket for documents and results, in the region of the endpoint."""
    prefix: str = "async"
    sources: tuple[str, ...] = ()
    """Each a bucket or bucket/prefix from which documents are read without a copy."""
    min_instances: int = 0
    max_instances: int = 2
    backlog_per_instance: int = 5
    """Number of waiting documents per machine above which a machine is added."""
    concurrency: int | None = None
    """Documents that a machine reads at once; None: as many pages as its GPUs hold."""
    timeout_seconds: int = 3600
    """Limit for one document, and the service's deadline for it."""
    wait_seconds: int = 21_600
    """Time in the queue after which SageMaker gives a document up."""
    idle_seconds: int | None = None
    """Time without work after which machines are removed; None: a little above the
    timeout."""
    scale_out_seconds: int = 600
    """Time that a new machine takes to start; no other one is added meanwhile."""
    success_topic: str | None = None
    error_topic: str | None = None

    def __post_init__(self) -> None:
        require(
            self.bucket is None or not self.bucket.startswith("s3://"),
            f"asynchronous.bucket is a name without s3://, not {self.bucket}",
        )
        for source in self.sources:
            require(
                not source.startswith("s3://") and bool(source.strip("/")),
                f"asynchronous.sources are bucket or bucket/prefix, not {source}",
            )
        require(
            0 <= self.min_instances <= self.max_instances and self.max_instances >= 1,
            "asynchronous.min_instances must be 0 to max_instances, and that at least "
            f"1, not {self.min_instances} and {self.max_instances}",
        )
        for name, least, most in (
            ("backlog_per_instance", 1, 100_000),
            ("concurrency", 1, 1000),
            ("timeout_seconds", 1, 3600),
            ("wait_seconds", 60, 21_600),
            ("scale_out_seconds", 0, 7200),
        ):
            value = getattr(self, name)
            require(
                value is None or least <= value <= most,
                f"asynchronous.{name} must be {least} to {most}, not {value}",
            )
        # It may be shorter than the timeout: the use of the GPU also shows that a
        # machine is busy.
        require(
            300 <= self.idle <= 86_400,
            f"asynchronous.idle_seconds must be 300 to 86400, not {self.idle}",
        )
        for topic in (self.success_topic, self.error_topic):
            require(
                topic is None or topic.startswith("arn:"),
                f"asynchronous.success_topic and error_topic are ARNs, not {topic}",
            )

    @property
    def idle(self) -> int:
        """Idle time after which machines are removed, in seconds.

        It is rounded up to whole minutes. The default is 300 seconds above the timeout.
        """
        seconds = self.idle_seconds
        if seconds is None:
            seconds = self.timeout_seconds + 300
        return -(-seconds // 60) * 60
