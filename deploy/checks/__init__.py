"""Preflight checks: problems that AWS would report only after minutes or hours."""

from deploy.checks.endpoint import (
    config_findings,
    cuda_findings,
    platform_findings,
    region_findings,
)
from deploy.checks.finding import Finding
from deploy.checks.machines import unknown_cuda_finding
from deploy.checks.quotas import (
    ENDPOINT_USAGE,
    TRANSFORM_USAGE,
    QuotaUse,
    quota_findings,
    quota_name,
)

__all__ = [
    "ENDPOINT_USAGE",
    "TRANSFORM_USAGE",
    "Finding",
    "QuotaUse",
    "config_findings",
    "cuda_findings",
    "platform_findings",
    "quota_findings",
    "quota_name",
    "region_findings",
    "unknown_cuda_finding",
]
