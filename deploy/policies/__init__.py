"""IAM documents, each as small as what it is for. Pure functions that return dicts."""

from deploy.policies.caller import caller_policy
from deploy.policies.execution import execution_policy
from deploy.policies.services import build_policy, scheduler_policy, trust_policy

__all__ = [
    "build_policy",
    "caller_policy",
    "execution_policy",
    "scheduler_policy",
    "trust_policy",
]
