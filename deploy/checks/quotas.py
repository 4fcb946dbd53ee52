"""Quotas of the account, and the check of the number of machines against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.aws.client import AWSClient
from deploy.checks.finding import Finding
from deploy.errors import DeployError

__all__ = [
    "ENDPOINT_USAGE",
    "TRANSFORM_USAGE",
    "Quota",
    "QuotaUse",
    "quota_findings",
    "quota_name",
    "usage_quotas",
]


@dataclass(frozen=True, slots=True)
class Quota:
    """Quota of Service Quotas, with its current value."""

    name: str
    code: str
    value: float


def usage_quotas(aws: AWSClient, usage: str) -> dict[str, Quota] | None:
    """Return the quotas of SageMaker for a usage, such as "endpoint usage", by name.

    Returns None if they cannot be read.
    """
    try:
        items = list(
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
        for item in items
        if item["QuotaName"].endswith(f" for {usage}")
    }


ENDPOINT_USAGE = "endpoint usage"
TRANSFORM_USAGE = "transform job usage"


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """Instances of a running endpoint that count against the same quota."""

    endpoint: str
    instances: Mapping[str, int]
    """Number of instances by type."""
    note: str = ""
    """Reason why they count in addition to the requested ones."""

    def description(self, instance_type: str) -> str:
        """Return the number of instances of a type, such as "1 of endpoint ocr"."""
        text = f"{self.instances[instance_type]} of endpoint {self.endpoint}"
        return f"{text}, {self.note}" if self.note else text


def quota_name(instance_type: str, usage: str = ENDPOINT_USAGE) -> str:
    """Return the name of the quota of an instance type in Service Quotas."""
    return f"{instance_type} for {usage}"


def quota_findings(
    requested: Mapping[str, int],
    quotas: Mapping[str, float],
    *,
    hint: str,
    usage: str = ENDPOINT_USAGE,
    in_use: Sequence[QuotaUse] = (),
) -> list[Finding]:
    """Compare the numbers of requested and used instances with the quotas.

    `requested` are numbers by instance type, `quotas` are values by `quota_name`.
    Several types are alternatives: if one of them is within its quota, the findings
    about the others are notes. A type without a quota in this region gets a note.
    """
    findings = []
    for name, count in requested.items():
        uses = [use for use in in_use if use.instances.get(name)]
        needed = count + sum(use.instances[name] for use in uses)
        allowed = quotas.get(quota_name(name, usage))
        if allowed is None:
            findings.append(
                Finding(name, False, f"this region lists no quota of {name}")
            )
        elif allowed < needed:
            beside = " and ".join(use.description(name) for use in uses)
            findings.append(
                Finding(
                    name,
                    True,
                    f"this account may run {allowed:g} {name} for "
                    f"{usage.removesuffix(' usage')}s; {count} are requested"
                    + (f" beside {beside}" if beside else ""),
                    hint=hint,
                )
            )
    if len(findings) < len(requested):
        return [Finding(f.subject, False, f.sentence, f.hint) for f in findings]
    return findings
