"""Regions in which a role may act, by its inline policies.

Roles are global. `iam --create` puts one policy for each region into a role, and the
policy's name ends in the region. The policy is also the record that the deployment uses
the role in that region.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = [
    "MAX_ROLE_CHARACTERS",
    "UNNAMED_POLICY",
    "characters_of",
    "policy_name",
    "policy_regions",
]

UNNAMED_POLICY = "chandra-sagemaker"
"""Name that earlier versions gave to the only policy of a role, in any region."""
MAX_ROLE_CHARACTERS = 10_240
"""IAM's quota for all inline policies of a role, without white space."""


def policy_name(region: str) -> str:
    """Return the name of the policy that lets a role act in `region`."""
    return f"{UNNAMED_POLICY}-{region}"


def policy_regions(policies: Mapping[str, Mapping[str, Any]]) -> dict[str, set[str]]:
    """Return the regions of each policy that this package created, by policy name.

    `policies` are documents by name. Policies with other names are left out.
    """
    regions: dict[str, set[str]] = {}
    begin = f"{UNNAMED_POLICY}-"
    for name, document in policies.items():
        if name == UNNAMED_POLICY:
            regions[name] = _regions_in(document)
        elif name.startswith(begin):
            regions[name] = {name.removeprefix(begin)}
    return regions


def characters_of(document: Mapping[str, Any]) -> int:
    """Return the size of a policy as IAM counts it: characters without white space."""
    text = json.dumps(document, separators=(",", ":"))
    return sum(not character.isspace() for character in text)


def _regions_in(document: Mapping[str, Any]) -> set[str]:
    """Return the regions in the ARNs of endpoints and log groups of a policy.

    Every policy of this package names one of them. Its image or key may be in another
    region.
    """
    arns = [
        str(resource).split(":")
        for statement in _as_list(document.get("Statement"))
        for resource in _as_list(statement.get("Resource"))
    ]
    return {
        arn[3] for arn in arns if len(arn) > 3 and arn[2] in ("logs", "sagemaker")
    } - {""}


def _as_list(value: Any) -> list[Any]:
    """Return a list; IAM also takes one item without the list around it."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
