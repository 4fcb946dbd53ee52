"""The resources of a deployment, as its policies name them."""

from __future__ import annotations

from deploy.config import DeployConfig
from deploy.queue.endpoint import async_name
from deploy.resources import Identity, image_address

__all__ = [
    "alarms_arn",
    "document_bucket_arns",
    "endpoint_names",
    "log_group_arns",
    "model_bucket_arn",
    "pulled_repository_arn",
    "repository_arn",
    "source_arns",
    "weights_prefix",
]


def endpoint_names(config: DeployConfig) -> list[str]:
    """The names of both: the asynchronous one where there is to be one."""
    has_both = config.asynchronous.bucket is not None
    return [config.name, *([async_name(config)] if has_both else [])]


def repository_arn(config: DeployConfig, identity: Identity) -> str:
    return (
        f"arn:{identity.partition}:ecr:{identity.region}:{identity.account}:"
        f"repository/{config.image.repository}"
    )


def pulled_repository_arn(config: DeployConfig, identity: Identity) -> str:
    """The repository of the image: ours, or the one that image.uri names."""
    address = image_address(config.image.uri)
    if address is None:
        return repository_arn(config, identity)
    return (
        f"arn:{identity.partition}:ecr:{address.region}:{address.account}:"
        f"repository/{address.repository}"
    )


def model_bucket_arn(config: DeployConfig, identity: Identity) -> str:
    return f"arn:{identity.partition}:s3:::{config.model.bucket}"


def weights_prefix(config: DeployConfig) -> str:
    """In the model's bucket; empty, or with a slash at its end."""
    prefix = config.model.prefix.strip("/")
    return f"{prefix}/" if prefix else ""


def document_bucket_arns(config: DeployConfig, identity: Identity) -> list[str]:
    """Where transform jobs read documents and write results."""
    return [
        f"arn:{identity.partition}:s3:::{name}" for name in config.transform.buckets
    ]


def source_arns(config: DeployConfig, identity: Identity) -> list[str]:
    """Objects that the asynchronous endpoint reads from where they lie."""
    return [
        f"arn:{identity.partition}:s3:::{source.rstrip('/')}/*"
        for source in config.asynchronous.sources
    ]


def log_group_arns(identity: Identity, *groups: str) -> list[str]:
    """Each group, and what is in it."""
    where = f"arn:{identity.partition}:logs:{identity.region}:{identity.account}"
    return [
        f"{where}:log-group:{group}{rest}" for group in groups for rest in ("", ":*")
    ]


def alarms_arn(config: DeployConfig, identity: Identity) -> str:
    where = f"{identity.region}:{identity.account}"
    return f"arn:{identity.partition}:cloudwatch:{where}:alarm:{config.name}-*"
