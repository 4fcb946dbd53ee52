"""What a deployment consists of: SageMaker's own nouns, as values.

Models and endpoint configs cannot be changed once made, so their names end in a digest
of their contents. Equal names are equal contents: comparing is all a plan has to do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from deploy.config import DeployConfig
from deploy.errors import ConfigError

__all__ = [
    "LIVE_TAG",
    "OWNER_TAG",
    "REVISION_TAG",
    "VARIANT",
    "AsyncInference",
    "Endpoint",
    "EndpointConfig",
    "EndpointState",
    "Identity",
    "Live",
    "Model",
    "Variant",
    "digest",
    "endpoint_from",
    "image_uri",
    "log_group",
    "revision_of",
    "tag_list",
    "tags_of",
    "weights_uri",
]

OWNER_TAG = "chandra-torchserve:deployment"
"""On everything we make; nothing without it is ever deleted."""
LIVE_TAG = "chandra-torchserve:live"
"""On an endpoint config: when it went into service. The history of the endpoint."""
REVISION_TAG = "chandra-torchserve:model-revision"
VARIANT = "AllTraffic"


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
class Model:
    """An image, its weights and its environment."""

    prefix: str
    image: str
    role: str
    environment: Mapping[str, str]
    weights: str | None
    """s3://bucket/prefix/, or None where the container fetches them."""
    isolation: bool
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    weights_tar: str | None = None
    """s3://bucket/key.tar.gz, which SageMaker unpacks; batch transform takes no
    prefix."""

    @property
    def name(self) -> str:
        return f"{self.prefix}-{digest(self._contents)}"

    @property
    def request(self) -> dict[str, Any]:
        return {
            "ModelName": self.name,
            **self._contents,
            "Tags": tag_list(self.tags),
        }

    @property
    def _contents(self) -> dict[str, Any]:
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
    """The machines that a model runs on."""

    model: Model
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
    """Requests that wait in a queue, and where their answers go."""

    output: str
    failure: str
    """s3://bucket/prefix of answers and of failures."""
    concurrency: int
    """Requests that a machine is given at once."""
    success_topic: str | None = None
    error_topic: str | None = None
    kms_key: str | None = None
    """That encrypts answers and failures."""

    @property
    def request(self) -> dict[str, Any]:
        output: dict[str, Any] = {
            "S3OutputPath": self.output,
            "S3FailurePath": self.failure,
        }
        topics = {"SuccessTopic": self.success_topic, "ErrorTopic": self.error_topic}
        told = {name: topic for name, topic in topics.items() if topic is not None}
        if told:
            output["NotificationConfig"] = told
        if self.kms_key is not None:
            output["KmsKeyId"] = self.kms_key
        return {
            "OutputConfig": output,
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": self.concurrency},
        }


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """Everything about an endpoint but its name."""

    prefix: str
    variant: Variant
    kms_key: str | None = None
    capture_uri: str | None = None
    capture_percent: int = 100
    tags: Mapping[str, str] = field(default_factory=dict)
    asynchronous: AsyncInference | None = None
    """None: an endpoint that answers while one waits."""

    @property
    def name(self) -> str:
        return f"{self.prefix}-{digest(self._contents)}"

    @property
    def request(self) -> dict[str, Any]:
        return {
            "EndpointConfigName": self.name,
            **self._contents,
            "Tags": tag_list(self.tags),
        }

    @property
    def _contents(self) -> dict[str, Any]:
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
    """What is wanted."""

    name: str
    config: EndpointConfig
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def variant(self) -> Variant:
        return self.config.variant

    @property
    def model(self) -> Model:
        return self.config.variant.model


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What is there."""

    name: str
    status: str
    config: str
    is_ours: bool
    pending_config: str | None = None
    """What it is changing to."""
    failure: str | None = None
    created: datetime | None = None
    modified: datetime | None = None
    instance_count: int | None = None
    desired_count: int | None = None
    image: str | None = None
    """The digest that runs, as SageMaker resolved it."""
    stages: tuple[str, ...] = ()
    """What SageMaker is doing to the variant, in its words."""
    is_scaled: bool = False
    """Application Auto Scaling changes its instance count."""

    @property
    def is_changing(self) -> bool:
        return self.status in (
            "Creating",
            "Updating",
            "SystemUpdating",
            "RollingBack",
            "Deleting",
        )


@dataclass(frozen=True, slots=True)
class Live:
    """An endpoint config of ours, and when it last went into service."""

    config: str
    created: datetime
    since: datetime | None


def endpoint_from(
    config: DeployConfig,
    identity: Identity,
    *,
    image: str | None = None,
    environment: Mapping[str, str] | None = None,
    asynchronous: AsyncInference | None = None,
) -> Endpoint:
    """What the configuration asks for; raises ConfigError where it asks too little.

    `environment` is beside our own, and endpoint.environment beats both.
    """
    tags = tags_of(config)
    model = Model(
        prefix=config.name,
        image=image or image_uri(config),
        role=config.role or identity.role_arn(config.role_name),
        environment=_environment(config, environment or {}),
        weights=weights_uri(config) if config.model.source == "s3" else None,
        isolation=config.network.isolation,
        subnets=config.network.subnets,
        security_groups=config.network.security_groups,
        tags=tags | {REVISION_TAG: revision_of(config)},
    )
    machines = config.endpoint
    variant = Variant(
        model=model,
        instance_types=machines.instance_types,
        instance_count=machines.instance_count,
        ami=machines.ami,
        startup_timeout_seconds=machines.startup_timeout_seconds,
        download_timeout_seconds=machines.download_timeout_seconds,
        provision_timeout_seconds=machines.provision_timeout_seconds,
        volume_gb=machines.volume_gb,
    )
    endpoint_config = EndpointConfig(
        prefix=config.name,
        variant=variant,
        kms_key=config.network.kms_key,
        capture_uri=config.capture.uri,
        capture_percent=config.capture.percent,
        tags=tags,
        asynchronous=asynchronous,
    )
    return Endpoint(name=config.name, config=endpoint_config, tags=tags)


def tags_of(config: DeployConfig) -> dict[str, str]:
    """On everything this deployment makes."""
    return {**config.tags, OWNER_TAG: config.name}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as SageMaker, ECR, CloudWatch and IAM take them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def digest(contents: object) -> str:
    """Eight digits that change when the contents do."""
    canonical = json.dumps(contents, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def image_uri(config: DeployConfig) -> str:
    if config.image.uri is None:
        raise ConfigError(
            "no image has been pushed yet", hint="chandra-sagemaker image push"
        )
    return config.image.uri


def weights_uri(config: DeployConfig) -> str:
    """Where the weights of this revision lie: a prefix, which ends in a slash."""
    if config.model.bucket is None:
        raise ConfigError(
            "model.bucket is not set: weights are staged in a bucket of yours",
            hint="set [model] bucket in chandra.toml, then chandra-sagemaker model "
            "stage",
        )
    parts = (config.model.prefix.strip("/"), config.model.id, revision_of(config))
    return f"s3://{config.model.bucket}/{'/'.join(p for p in parts if p)}/"


def log_group(endpoint: str) -> str:
    return f"/aws/sagemaker/Endpoints/{endpoint}"


def revision_of(config: DeployConfig) -> str:
    if config.model.revision is None:
        raise ConfigError(
            f"no revision of {config.model.id} has been staged yet",
            hint="chandra-sagemaker model stage",
        )
    return config.model.revision


def _environment(config: DeployConfig, more: Mapping[str, str]) -> dict[str, str]:
    startup = config.endpoint.startup_timeout_seconds
    return {
        "MODEL_ID": config.model.id,
        "MODEL_REVISION": revision_of(config),
        # Which sizes and deadlines the container works with.
        "SERVE_USE": "realtime",
        # The container's own limits: TorchServe's ends with SageMaker's, and the
        # handler's a little earlier, so that its log says what took so long.
        "STARTUP_TIMEOUT_SECONDS": str(startup),
        "CHANDRA_LOAD_SECONDS": str(max(startup - 60, startup // 2)),
        **more,
        **config.endpoint.environment,
    }
