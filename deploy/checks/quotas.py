"""Whether the account may run so many machines."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.checks.finding import Finding

__all__ = ["ENDPOINT_USAGE", "TRANSFORM_USAGE", "quota_findings", "quota_name"]

ENDPOINT_USAGE = "endpoint usage"
TRANSFORM_USAGE = "transform job usage"


def quota_name(instance_type: str, usage: str = ENDPOINT_USAGE) -> str:
    """As Service Quotas calls it."""
    return f"{instance_type} for {usage}"


def quota_findings(
    wanted: Mapping[str, int],
    quotas: Mapping[str, float],
    *,
    hint: str,
    usage: str = ENDPOINT_USAGE,
) -> list[Finding]:
    """Instances wanted by type, against the account's quotas by name.

    Several types are alternatives: one that is allowed is enough.
    """
    refused = []
    for name, count in wanted.items():
        allowed = quotas.get(quota_name(name, usage))
        if allowed is None:
            refused.append(
                Finding(name, False, f"this region lists no quota of {name}")
            )
        elif allowed < count:
            refused.append(
                Finding(
                    name,
                    True,
                    f"this account may run {allowed:g} {name} for "
                    f"{usage.removesuffix(' usage')}s; {count} wanted",
                    hint=hint,
                )
            )
    if len(refused) < len(wanted):
        return [Finding(f.subject, False, f.sentence, f.hint) for f in refused]
    return refused
