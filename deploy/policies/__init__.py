"""IAM policies that allow no more than the commands and the containers need."""

from deploy.policies.caller import caller_policy
from deploy.policies.execution import execution_policy
from deploy.policies.regional import (
    MAX_ROLE_CHARACTERS,
    UNNAMED_POLICY,
    characters_of,
    policy_name,
    policy_regions,
)
from deploy.policies.services import build_policy, scheduler_policy, trust_policy

__all__ = [
    "MAX_ROLE_CHARACTERS",
    "UNNAMED_POLICY",
    "build_policy",
    "caller_policy",
    "characters_of",
    "execution_policy",
    "policy_name",
    "policy_regions",
    "scheduler_policy",
    "trust_policy",
]
