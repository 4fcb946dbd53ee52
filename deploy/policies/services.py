"""Policies of the roles of CodeBuild and EventBridge Scheduler."""

from __future__ import annotations

from deploy.config import DeployConfig
from deploy.policies.statements import (
    Policy,
    actions_of,
    allow,
    document,
    log_group_arns,
    model_bucket_arn,
    repository_arn,
)
from deploy.resources import Identity

__all__ = ["build_policy", "scheduler_policy", "trust_policy"]


def trust_policy(service: str, account: str) -> Policy:
    """Return the trust policy that lets a service assume a role for `account`.

    `service` is the first part of its principal, such as "sagemaker".
    """
    return document(
        {
            "Effect": "Allow",
            "Principal": {"Service": f"{service}.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": account}},
        }
    )


def scheduler_policy(config: DeployConfig, identity: Identity) -> Policy:
    """Return the policy with which the scheduler starts and stops the endpoint."""
    name = config.name
    return document(
        allow(
            "StartAndStop",
            actions_of("sagemaker", "CreateEndpoint DeleteEndpoint AddTags"),
            [
                identity.sagemaker_arn("endpoint", name),
                identity.sagemaker_arn("endpoint-config", f"{name}-*"),
            ],
        )
    )


def build_policy(config: DeployConfig, identity: Identity) -> Policy:
    """Return the policy with which CodeBuild builds and pushes the image.

    Without model.bucket, it does not allow to read the source of a build.
    """
    name = config.name
    statements = [
        allow(
            "Logs",
            actions_of("logs", "CreateLogGroup CreateLogStream PutLogEvents"),
            log_group_arns(identity, f"/aws/codebuild/{name}-image"),
        ),
        allow("Registry", ["ecr:GetAuthorizationToken"], ["*"]),
        allow(
            "Push",
            actions_of(
                "ecr",
                "BatchCheckLayerAvailability BatchGetImage GetDownloadUrlForLayer "
                "InitiateLayerUpload UploadLayerPart CompleteLayerUpload PutImage",
            ),
            [repository_arn(config, identity)],
        ),
    ]
    if config.model.bucket is not None:
        bucket = model_bucket_arn(config, identity)
        statements.append(
            allow(
                "Source",
                ["s3:GetObject", "s3:GetObjectVersion"],
                [f"{bucket}/builds/{name}/*"],
            )
        )
    return document(*statements)
