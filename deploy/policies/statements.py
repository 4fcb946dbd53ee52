"""Parts of IAM policies: documents, statements and actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploy.resources import Identity

__all__ = ["Document", "actions_of", "allow", "document", "key_statement"]

Document = dict[str, Any]


def document(*statements: Document) -> Document:
    """Return a policy document with the statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(
    sid: str,
    actions: Sequence[str],
    resources: Sequence[str],
    *,
    condition: Document | None = None,
) -> Document:
    """Return a statement that allows actions on resources."""
    statement: Document = {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": list(resources),
    }
    return statement if condition is None else {**statement, "Condition": condition}


def actions_of(service: str, names: str) -> list[str]:
    """Return actions of one service; `names` is separated by blanks."""
    return [f"{service}:{name}" for name in names.split()]


def key_statement(key: str, identity: Identity, actions: Sequence[str]) -> Document:
    """Return the statement that allows actions on a KMS key.

    A resource must be the ARN of a key, so an alias becomes a condition.
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
