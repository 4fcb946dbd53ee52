"""Service quotas of SageMaker in an account."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.aws.client import AWSClient
from deploy.errors import DeployError

__all__ = ["Quota", "usage_quotas"]


@dataclass(frozen=True, slots=True)
class Quota:
    """Service quota."""

    name: str
    code: str
    value: float


def usage_quotas(aws: AWSClient, usage: str) -> dict[str, Quota] | None:
    """Return the quotas of a usage by name, such as "endpoint usage".

    Returns None if they cannot be read.
    """
    try:
        found = list(
            aws.pages(
                "service-quotas",
                "list_service_quotas",
                "Quotas",
                ServiceCode="sagemaker",
            )
        )
    except DeployError:
        return None
    return {
        item["QuotaName"]: Quota(item["QuotaName"], item["QuotaCode"], item["Value"])
        for item in found
        if item["QuotaName"].endswith(f" for {usage}")
    }
