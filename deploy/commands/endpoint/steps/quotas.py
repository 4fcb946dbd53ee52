"""Checks of the account's quotas: machines that are requested and those in use.

Both endpoints of a deployment share the quota of an instance type. An endpoint's own
machines count beside the wanted ones only while an update runs both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from deploy.checks import (
    ENDPOINT_USAGE,
    Finding,
    QuotaUse,
    quota_findings,
    quota_name,
)
from deploy.checks.quotas import Quota, usage_quotas
from deploy.commands.endpoint.steps.preflight import has_call
from deploy.config import MAX_NAME, DeployConfig
from deploy.context import Context
from deploy.endpoint.snapshot import AccountReader
from deploy.errors import DeployError
from deploy.plan.actions import Action
from deploy.queue.endpoint import async_name
from deploy.resources import EndpointState, main_variant

__all__ = ["UNKNOWN_QUOTAS", "check_quotas", "other_endpoint", "usage_findings"]

UNKNOWN_QUOTAS = Finding("quotas", False, "the quotas could not be read or checked")
KEEPS_SERVING = "which serves until the new ones do"
WITHOUT_MACHINES = ("Failed", "OutOfService", "Deleting")


def check_quotas(
    context: Context,
    config: DeployConfig,
    actions: Sequence[Action] = (),
    *,
    seen: AccountReader | None = None,
    with_update: bool = False,
) -> list[Finding]:
    """Check the quotas that `actions` need to reach `config`.

    A quota below the requested machines is fatal. A quota below those of an update,
    which runs old and new machines at once, is a warning: SageMaker rejects such an
    update and leaves the endpoint unchanged. `with_update` always checks the latter.
    """
    quotas = usage_quotas(context.aws, ENDPOINT_USAGE)
    if quotas is None:
        return [UNKNOWN_QUOTAS]
    account = seen or context.account
    is_update = with_update or has_call(actions, "update_endpoint")
    other = other_endpoint(context, config.name)
    names = [config.name] if is_update else []
    names += [] if other is None else [other]
    in_use = []
    is_scaled = False
    for name in names:
        try:
            state = account.read_endpoint(name)
            if state is None:
                continue
            is_read = not state.pools and state.status not in WITHOUT_MACHINES
            described = account.describe_config(state.config) if is_read else {}
        except DeployError:
            # Machines that the caller has no permission to see are not counted.
            continue
        note = KEEPS_SERVING if name == config.name else ""
        in_use.append(QuotaUse(name, _count_instances(state, described), note))
        is_scaled |= name == config.name and state.is_scaled
    count = config.endpoint.instance_count
    machines = dict.fromkeys(config.endpoint.instance_types, count)
    shared = [use for use in in_use if use.endpoint == other]
    findings = usage_findings(machines, quotas, ENDPOINT_USAGE, shared)
    if findings or not is_update:
        return findings
    if is_scaled:
        # An update keeps the number that scaling has set.
        own = [use.instances for use in in_use if use.endpoint == config.name]
        most = max([count, *(n for instances in own for n in instances.values())])
        machines = dict.fromkeys(machines, most)
    beside = usage_findings(machines, quotas, ENDPOINT_USAGE, in_use)
    return [replace(finding, is_fatal=False) for finding in beside]


def usage_findings(
    machines: Mapping[str, int],
    quotas: Mapping[str, Quota],
    usage: str,
    in_use: Sequence[QuotaUse] = (),
) -> list[Finding]:
    """Return findings on quotas below the machines requested and `in_use`.

    `machines` is the number of machines by type, with at least one type. The hint is
    the command that requests a higher quota.
    """
    name, count = next(iter(machines.items()))
    first = quotas.get(quota_name(name, usage))
    code = first.code if first else "CODE"
    needed = count + sum(use.instances.get(name, 0) for use in in_use)
    return quota_findings(
        machines,
        {name: quota.value for name, quota in quotas.items()},
        hint="aws service-quotas request-service-quota-increase --service-code "
        f"sagemaker --quota-code {code} --desired-value {needed}",
        usage=usage,
        in_use=in_use,
    )


def other_endpoint(context: Context, name: str) -> str | None:
    """Return the name of the deployment's other endpoint, real-time or asynchronous.

    Return None if the name of the asynchronous endpoint would be too long.
    """
    queue = async_name(context.config)
    if name == queue:
        return context.config.name
    return queue if len(queue) <= MAX_NAME else None


def _count_instances(
    state: EndpointState, config: Mapping[str, Any]
) -> Mapping[str, int]:
    """Return an endpoint's machines by type.

    `config` describes its config. It is empty for an endpoint with pools, which are in
    its state, and for one without machines.
    """
    if state.pools:
        return dict(state.pools)
    variant = main_variant(config)
    kind = variant.get("InstanceType")
    count = max(state.instance_count or 0, state.desired_count or 0)
    if state.status == "Creating":
        count = max(count, variant.get("InitialInstanceCount", 0))
    return {} if kind is None else {kind: count}
