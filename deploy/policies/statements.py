"""Parts of IAM policies: documents, statements, actions and ARNs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploy.config import DeployConfig
from deploy.queue.endpoint import async_name
from deploy.resources import Identity, image_address

__all__ = [
    "Policy",
    "Statement",
    "actions_of",
    "alarms_arn",
    "allow",
    "document",
    "document_bucket_arns",
    "endpoint_names",
    "key_statement",
    "log_group_arns",
    "model_bucket_arn",
    "pulled_repository_arn",
    "repository_arn",
    "source_arns",
    "weights_prefix",
]

Policy = dict[str, Any]
Statement = dict[str, Any]


def document(*statements: Statement) -> Policy:
    """Return a policy document with the statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(
    sid: str,
    actions: Sequence[str],
    resources: Sequence[str],
    *,
    condition: dict[str, Any] | None = None,
) -> Statement:
    """Return a statement that allows actions on resources."""
    statement: Statement = {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": list(resources),
    }
    return statement if condition is None else {**statement, "Condition": condition}


def actions_of(service: str, names: str) -> list[str]:
    """Return actions of one service, such as "s3:GetObject".

    `names` are the names of the actions, separated by blanks.
    """
    return [f"{service}:{name}" for name in names.split()]


def key_statement(key: str, identity: Identity, actions: Sequence[str]) -> Statement:
    """Return the statement that allows actions on a KMS key.

    `key` is an ARN, an id or an alias, alone or as an ARN. A resource must be the ARN
    of a key, so an alias becomes a condition.
    """
    everywhere = f"arn:{identity.partition}:kms:{identity.region}:{identity.account}:"
    alias = key.removeprefix(everywhere)
    if alias.startswith("alias/"):
        return allow(
            "Key",
            actions,
            [f"{everywhere}key/*"],
            condition={"ForAnyValue:StringEquals": {"kms:ResourceAliases": alias}},
        )
    return allow(
        "Key", actions, [key if key.startswith("arn:") else f"{everywhere}key/{key}"]
    )


def endpoint_names(config: DeployConfig) -> list[str]:
    """Return the names of the deployment's endpoints.

    The asynchronous endpoint is included if the configuration has a bucket for it.
    """
    has_both = config.asynchronous.bucket is not None
    return [config.name, *([async_name(config)] if has_both else [])]


def repository_arn(config: DeployConfig, identity: Identity) -> str:
    """Return the ARN of the repository that `image push` pushes to."""
    return (
        f"arn:{identity.partition}:ecr:{identity.region}:{identity.account}:"
        f"repository/{config.image.repository}"
    )


def pulled_repository_arn(config: DeployConfig, identity: Identity) -> str:
    """Return the ARN of the repository in image.uri.

    If that is not an ECR image, return the ARN of `image.repository`.
    """
    address = image_address(config.image.uri)
    if address is None:
        return repository_arn(config, identity)
    return (
        f"arn:{identity.partition}:ecr:{address.region}:{address.account}:"
        f"repository/{address.repository}"
    )


def model_bucket_arn(config: DeployConfig, identity: Identity) -> str:
    """Return the ARN of the bucket of the weights."""
    return f"arn:{identity.partition}:s3:::{config.model.bucket}"


def weights_prefix(config: DeployConfig) -> str:
    """Return the prefix of weights in their bucket: empty, or ending in a slash."""
    prefix = config.model.prefix.strip("/")
    return f"{prefix}/" if prefix else ""


def document_bucket_arns(config: DeployConfig, identity: Identity) -> list[str]:
    """Return the ARNs of buckets with documents and results of transform jobs."""
    return [
        f"arn:{identity.partition}:s3:::{name}" for name in config.transform.buckets
    ]


def source_arns(config: DeployConfig, identity: Identity) -> list[str]:
    """Return the ARN patterns of the objects below asynchronous.sources."""
    return [
        f"arn:{identity.partition}:s3:::{source.rstrip('/')}/*"
        for source in config.asynchronous.sources
    ]


def log_group_arns(identity: Identity, *groups: str) -> list[str]:
    """Return the ARNs of log groups, each followed by the pattern of its streams."""
    where = f"arn:{identity.partition}:logs:{identity.region}:{identity.account}"
    return [
        f"{where}:log-group:{group}{rest}" for group in groups for rest in ("", ":*")
    ]


def alarms_arn(config: DeployConfig, identity: Identity) -> str:
    """Return the ARN pattern of the deployment's alarms."""
    where = f"{identity.region}:{identity.account}"
    return f"arn:{identity.partition}:cloudwatch:{where}:alarm:{config.name}-*"
