"""Model, endpoint config and endpoint to create, as requests of AWS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.resources.names import digest, tag_list
from deploy.resources.settings import VARIANT, settings_of

__all__ = [
    "VARIANT",
    "AsyncInference",
    "Endpoint",
    "EndpointConfig",
    "SageMakerModel",
    "Variant",
    "load_seconds",
]


def load_seconds(startup_timeout_seconds: int) -> int:
    """Return the handler's limit on loading the model, in seconds.

    It is one minute shorter than SageMaker's limit, and at least half of it, so that
    the handler can log what took so long.
    """
    return max(startup_timeout_seconds - 60, startup_timeout_seconds // 2)


@dataclass(frozen=True, slots=True)
class SageMakerModel:
    """Model to create, whose name ends in a digest of its contents."""

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
        """CreateModel request without name and tags."""
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


@dataclass(frozen=True, slots=True)
class Variant:
    """Production variant of an endpoint config: a model and its machines."""

    model: SageMakerModel
    instance_types: tuple[str, ...]
    instance_count: int
    ami: str
    startup_timeout_seconds: int
    download_timeout_seconds: int
    provision_timeout_seconds: int
    volume_gb: int | None = None

    @property
    def request(self) -> dict[str, Any]:
        request: dict[str, Any] = {
            "VariantName": VARIANT,
            "ModelName": self.model.name,
            "InitialInstanceCount": self.instance_count,
            "InitialVariantWeight": 1.0,
            "ModelDataDownloadTimeoutInSeconds": self.download_timeout_seconds,
            "ContainerStartupHealthCheckTimeoutInSeconds": self.startup_timeout_seconds,
            "InferenceAmiVersion": self.ami,
            "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
        }
        if len(self.instance_types) == 1:
            request["InstanceType"] = self.instance_types[0]
        else:
            request["InstancePools"] = [
                {"InstanceType": name, "Priority": number}
                for number, name in enumerate(self.instance_types, start=1)
            ]
            request["VariantInstanceProvisionTimeoutInSeconds"] = (
                self.provision_timeout_seconds
            )
        if self.volume_gb is not None:
            request["VolumeSizeInGB"] = self.volume_gb
        return request


@dataclass(frozen=True, slots=True)
class AsyncInference:
    """Settings of asynchronous inference: destinations of results, and concurrency."""

    output: str
    """The s3://bucket/prefix of answers."""
    failure: str
    """The s3://bucket/prefix of failures."""
    concurrency: int
    """Number of requests that SageMaker sends a machine at once."""
    success_topic: str | None = None
    error_topic: str | None = None
    kms_key: str | None = None
    """Key that encrypts answers and failures."""

    @property
    def request(self) -> dict[str, Any]:
        output: dict[str, Any] = {
            "S3OutputPath": self.output,
            "S3FailurePath": self.failure,
        }
        topics = {"SuccessTopic": self.success_topic, "ErrorTopic": self.error_topic}
        configured = {
            name: topic for name, topic in topics.items() if topic is not None
        }
        if configured:
            output["NotificationConfig"] = configured
        if self.kms_key is not None:
            output["KmsKeyId"] = self.kms_key
        return {
            "OutputConfig": output,
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": self.concurrency},
        }


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """Endpoint config to create, whose name ends in a digest of its contents."""

    prefix: str
    variant: Variant
    kms_key: str | None = None
    capture_uri: str | None = None
    capture_percent: int = 100
    tags: Mapping[str, str] = field(default_factory=dict)
    asynchronous: AsyncInference | None = None
    """Settings of an asynchronous endpoint; None for a real-time endpoint."""

    @property
    def name(self) -> str:
        return f"{self.prefix}-{digest(self.contents)}"

    @property
    def request(self) -> dict[str, Any]:
        return {
            "EndpointConfigName": self.name,
            **self.contents,
            "Tags": tag_list(self.tags),
        }

    @property
    def contents(self) -> dict[str, Any]:
        """CreateEndpointConfig request without name and tags."""
        contents: dict[str, Any] = {"ProductionVariants": [self.variant.request]}
        if self.kms_key is not None:
            contents["KmsKeyId"] = self.kms_key
        if self.capture_uri is not None:
            contents["DataCaptureConfig"] = {
                "EnableCapture": True,
                "InitialSamplingPercentage": self.capture_percent,
                "DestinationS3Uri": self.capture_uri,
                "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
            }
        if self.asynchronous is not None:
            contents["AsyncInferenceConfig"] = self.asynchronous.request
        return contents


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Endpoint as chandra.toml describes it."""

    name: str
    config: EndpointConfig
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def variant(self) -> Variant:
        return self.config.variant

    @property
    def model(self) -> SageMakerModel:
        return self.config.variant.model

    @property
    def settings(self) -> dict[str, str]:
        """Settings of config and model by name, to compare and print them."""
        return settings_of(self.config.contents, self.model.contents)
