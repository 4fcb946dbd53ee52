"""The tables of chandra.toml that every endpoint needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy.config.rules import check_environment, require

__all__ = [
    "CaptureTable",
    "EndpointTable",
    "ImageTable",
    "ModelTable",
    "NetworkTable",
    "UpdateTable",
]


@dataclass(frozen=True, slots=True)
class ImageTable:
    """What is built, and where it is kept."""

    repository: str = "chandra-torchserve"
    uri: str | None = None
    """An image by digest, in place of the one in chandra.lock.json."""
    tag: str | None = None
    """What it was pushed as; for people."""
    cuda: str | None = None
    """CUDA version of an image that does not name one."""
    dockerfile: str = "Dockerfile"
    context: str = "."
    keep: int = 10
    """Images that the repository keeps."""

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


@dataclass(frozen=True, slots=True)
class ModelTable:
    """Which weights, and where they lie."""

    id: str = "datalab-to/chandra"
    revision: str | None = None
    """A commit of the hub, in place of the one in chandra.lock.json."""
    source: str = "s3"
    """s3: staged by `model stage`. hub: the container fetches them when it starts."""
    bucket: str | None = None
    prefix: str = "models"
    weights_gb: float = 17.5
    """What the weights take on a GPU; compared with its memory."""

    def __post_init__(self) -> None:
        require(
            self.source in ("s3", "hub"),
            f"model.source must be s3 or hub, not {self.source}",
        )
        require(self.weights_gb > 0, "model.weights_gb must be above 0")
        require(
            self.bucket is None or not self.bucket.startswith("s3://"),
            f"model.bucket is a name without s3://, not {self.bucket}",
        )


@dataclass(frozen=True, slots=True)
class EndpointTable:
    """The machines."""

    instance_types: tuple[str, ...] = ("ml.g6e.2xlarge",)
    """Several: the first that has capacity, in this order."""
    instance_count: int = 1
    ami: str = "al2-ami-sagemaker-inference-gpu-3-1"
    startup_timeout_seconds: int = 1200
    download_timeout_seconds: int = 1200
    provision_timeout_seconds: int = 1200
    """For each of several instance types, before the next is tried."""
    volume_gb: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = self.instance_types
        require(bool(kinds), "endpoint.instance_types must name at least one")
        require(len(kinds) <= 5, f"endpoint.instance_types takes 5, not {len(kinds)}")
        require(
            len(set(kinds)) == len(kinds), "endpoint.instance_types names one twice"
        )
        require(
            self.instance_count >= 1,
            f"endpoint.instance_count must be at least 1, not {self.instance_count}; "
            "`chandra-sagemaker stop` is what costs nothing",
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
    """What the container can reach, and with which keys data is encrypted."""

    isolation: bool = True
    """No network at all inside the container; weights from S3 still arrive."""
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    kms_key: str | None = None
    """For weights and images; and for volumes, on instances without local disks."""

    def __post_init__(self) -> None:
        require(
            bool(self.subnets) == bool(self.security_groups),
            "network.subnets and network.security_groups go together",
        )


@dataclass(frozen=True, slots=True)
class UpdateTable:
    """How a running endpoint changes."""

    strategy: str = "blue-green"
    """blue-green: beside the old one, which serves until then. recreate: after the old
    one was deleted; until the new one serves, callers get errors."""
    bake_seconds: int = 600
    """The old machines stay this long, to go back to when an alarm goes off."""
    use_alarms: bool = True
    """Roll back on the alarms that `chandra-sagemaker alarms` made."""

    def __post_init__(self) -> None:
        require(
            self.strategy in ("blue-green", "recreate"),
            f"update.strategy must be blue-green or recreate, not {self.strategy}",
        )
        require(
            0 <= self.bake_seconds <= 3600,
            f"update.bake_seconds must be 0 to 3600, not {self.bake_seconds}",
        )


@dataclass(frozen=True, slots=True)
class CaptureTable:
    """Requests and replies copied to S3. Off: they are customers' documents."""

    uri: str | None = None
    percent: int = 100

    def __post_init__(self) -> None:
        require(
            self.uri is None or self.uri.startswith("s3://"),
            f"capture.uri must begin with s3://, not be {self.uri}",
        )
        require(
            0 <= self.percent <= 100,
            f"capture.percent must be 0 to 100, not {self.percent}",
        )
