"""Roles in an account, with their inline policies and attached policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.aws.client import AWSClient
from deploy.checks import Finding
from deploy.config import DeployConfig
from deploy.errors import AccessDeniedError, NotFoundError
from deploy.policies import policy_regions

__all__ = [
    "find_role",
    "list_attached_policies",
    "read_role_policies",
    "refuse_other_regions",
    "role_findings",
]


def find_role(aws: AWSClient, name: str) -> dict[str, Any] | None:
    """Return a role and its tags; None if the role does not exist."""
    try:
        answer: dict[str, Any] = aws.call("iam", "get_role", RoleName=name)
    except NotFoundError:
        return None
    role: dict[str, Any] = answer["Role"]
    return role


def read_role_policies(aws: AWSClient, role: str) -> dict[str, dict[str, Any]]:
    """Return the documents of a role's inline policies, by name.

    The result is empty if the role does not exist.
    """
    try:
        names = list(
            aws.pages("iam", "list_role_policies", "PolicyNames", RoleName=role)
        )
    except NotFoundError:
        return {}
    documents: dict[str, dict[str, Any]] = {}
    for name in names:
        try:
            answer = aws.call("iam", "get_role_policy", RoleName=role, PolicyName=name)
        except NotFoundError:
            continue
        documents[name] = answer["PolicyDocument"]
    return documents


def refuse_other_regions(
    role: str, policies: Mapping[str, Any], region: str | None
) -> None:
    """Raise NotFoundError if all policies of a role are for other regions.

    `policies` are documents by name. A role without policies of this package passes.
    """
    regions = sorted(set().union(*policy_regions(policies).values()))
    if regions and region not in regions:
        raise NotFoundError(
            f"role {role} has policies for {', '.join(regions)}, and none for {region}",
            hint=f"chandra-sagemaker iam --create --region {region}",
        )


def role_findings(aws: AWSClient, config: DeployConfig) -> list[Finding]:
    """Check that the role of `iam --create` has a policy for the region of `aws`.

    Returns no finding if chandra.toml names the role, or the role does not exist.
    """
    if config.role is not None:
        return []
    name = config.role_name
    try:
        refuse_other_regions(name, read_role_policies(aws, name), aws.region)
    except NotFoundError as error:
        return [Finding("role", True, error.message, error.hint)]
    except AccessDeniedError as error:
        return [
            Finding(
                "role",
                False,
                f"the policies of role {name} could not be checked: {error.message}",
                error.hint,
            )
        ]
    return []


def list_attached_policies(aws: AWSClient, role: str) -> list[str]:
    """Return the ARNs of the managed policies that are attached to a role.

    The list is empty if the role does not exist.
    """
    try:
        return [
            str(policy["PolicyArn"])
            for policy in aws.pages(
                "iam",
                "list_attached_role_policies",
                "AttachedPolicies",
                RoleName=role,
            )
        ]
    except NotFoundError:
        return []
