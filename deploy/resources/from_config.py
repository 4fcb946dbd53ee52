"""Endpoint, image and weights that a configuration describes."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.config import DeployConfig, ModelSource
from deploy.errors import ConfigError
from deploy.resources.endpoint import (
    AsyncInference,
    Endpoint,
    EndpointConfig,
    SageMakerModel,
    Variant,
    load_seconds,
)
from deploy.resources.names import REVISION_TAG, Identity, tags_of

__all__ = ["endpoint_from", "image_uri", "revision_of", "weights_uri"]


def endpoint_from(
    config: DeployConfig,
    identity: Identity,
    *,
    image: str | None = None,
    environment: Mapping[str, str] | None = None,
    asynchronous: AsyncInference | None = None,
) -> Endpoint:
    """Return the endpoint that a configuration describes.

    `image` replaces the image of the configuration. `environment` is added to the
    variables that every container gets, and endpoint.environment overrides both. With
    `asynchronous`, the endpoint is an asynchronous one. Raises ConfigError if the
    image, the bucket or the revision of the weights is not set.
    """
    tags = tags_of(config)
    model = SageMakerModel(
        prefix=config.name,
        image=image or image_uri(config),
        role=config.role or identity.role_arn(config.role_name),
        environment=_environment(config, environment or {}),
        weights=weights_uri(config) if config.model.source is ModelSource.S3 else None,
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


def image_uri(config: DeployConfig) -> str:
    """Return the URI of the image; raises ConfigError if none was pushed."""
    if config.image.uri is None:
        raise ConfigError(
            "no image has been pushed yet", hint="chandra-sagemaker image push"
        )
    return config.image.uri


def weights_uri(config: DeployConfig) -> str:
    """Return the s3:// prefix of the weights, which ends in a slash.

    Raises ConfigError if bucket or revision are not set.
    """
    if config.model.bucket is None:
        raise ConfigError(
            "model.bucket is not set: weights are staged in a bucket of yours",
            hint="set [model] bucket in chandra.toml, then chandra-sagemaker model "
            "stage",
        )
    parts = (config.model.prefix.strip("/"), config.model.id, revision_of(config))
    return f"s3://{config.model.bucket}/{'/'.join(p for p in parts if p)}/"


def revision_of(config: DeployConfig) -> str:
    """Return the revision of the weights; raises ConfigError if none was staged."""
    if config.model.revision is None:
        raise ConfigError(
            f"no revision of {config.model.id} has been staged yet",
            hint="chandra-sagemaker model stage",
        )
    return config.model.revision


def _environment(config: DeployConfig, more: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the container.

    `more` overrides the variables that every container gets, and endpoint.environment
    overrides both.
    """
    startup = config.endpoint.startup_timeout_seconds
    return {
        "MODEL_ID": config.model.id,
        "MODEL_REVISION": revision_of(config),
        # It selects the limits on sizes and times in the container.
        "SERVE_USE": "realtime",
        # TorchServe's limit equals SageMaker's. The handler's is a little shorter, so
        # that its log still says what took so long.
        "STARTUP_TIMEOUT_SECONDS": str(startup),
        "CHANDRA_LOAD_SECONDS": str(load_seconds(startup)),
        **more,
        **config.endpoint.environment,
    }
