"""ECR repository for the images: its owner and its settings."""

from __future__ import annotations

import json
from typing import Any

from deploy.aws.client import AWSClient
from deploy.config import DeployConfig
from deploy.errors import NotFoundError
from deploy.plan.actions import Call
from deploy.resources import OWNER_TAG, tag_list, tags_from, tags_of

__all__ = ["plan_repository", "read_repository_tags"]


def plan_repository(aws: AWSClient, config: DeployConfig) -> list[Call]:
    """Return the calls that create the repository or set its lifecycle policy.

    There are none if nothing has to change.

    The lifecycle policy deletes old images, so it is set only on repositories that we
    created.
    """
    name, keep = config.image.repository, config.image.keep
    tags = read_repository_tags(aws, name)
    calls = [_plan_creation(config)] if tags is None else []
    is_ours = tags is None or tags.get(OWNER_TAG) == config.name
    policy = _build_lifecycle_policy(keep)
    if is_ours and _read_lifecycle_policy(aws, name) != policy:
        calls.append(
            Call(
                "ecr",
                "put_lifecycle_policy",
                {"repositoryName": name, "lifecyclePolicyText": json.dumps(policy)},
                f"keep {keep} images in repository {name}",
            )
        )
    return calls


def read_repository_tags(aws: AWSClient, name: str) -> dict[str, str] | None:
    """Return the tags of a repository; None if it does not exist."""
    try:
        described = aws.call("ecr", "describe_repositories", repositoryNames=[name])
        arn = described["repositories"][0]["repositoryArn"]
        answer = aws.call("ecr", "list_tags_for_resource", resourceArn=arn)
    except NotFoundError:
        return None
    return tags_from(answer["tags"])


def _plan_creation(config: DeployConfig) -> Call:
    name = config.image.repository
    params: dict[str, Any] = {
        "repositoryName": name,
        "imageTagMutability": "IMMUTABLE",
        "imageScanningConfiguration": {"scanOnPush": True},
        "tags": tag_list(tags_of(config)),
    }
    if config.network.kms_key is not None:
        params["encryptionConfiguration"] = {
            "encryptionType": "KMS",
            "kmsKey": config.network.kms_key,
        }
    return Call(
        "ecr",
        "create_repository",
        params,
        f"create repository {name}: immutable tags, scanned on push",
        may_exist=True,
    )


def _build_lifecycle_policy(keep: int) -> dict[str, Any]:
    """Return the policy that keeps the newest images."""
    return {
        "rules": [
            {
                "rulePriority": 1,
                "description": f"keep {keep} images",
                "selection": {
                    "tagStatus": "any",
                    "countType": "imageCountMoreThan",
                    "countNumber": keep,
                },
                "action": {"type": "expire"},
            }
        ]
    }


def _read_lifecycle_policy(aws: AWSClient, name: str) -> dict[str, Any] | None:
    try:
        answer = aws.call("ecr", "get_lifecycle_policy", repositoryName=name)
    except NotFoundError:
        return None
    content: dict[str, Any] = json.loads(answer["lifecyclePolicyText"])
    return content
