"""Roles, and the policies inside them."""

from __future__ import annotations

from typing import Any

from deploy.aws.client import AWSClient
from deploy.errors import NotFoundError

__all__ = ["find_role", "find_role_policy"]


def find_role(aws: AWSClient, name: str) -> dict[str, Any] | None:
    """A role and its tags."""
    try:
        found: dict[str, Any] = aws.call("iam", "get_role", RoleName=name)
    except NotFoundError:
        return None
    role: dict[str, Any] = found["Role"]
    return role


def find_role_policy(aws: AWSClient, role: str, policy: str) -> dict[str, Any] | None:
    """A policy inside a role."""
    try:
        found = aws.call("iam", "get_role_policy", RoleName=role, PolicyName=policy)
    except NotFoundError:
        return None
    document: dict[str, Any] = found["PolicyDocument"]
    return document
