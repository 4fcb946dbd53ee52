"""The account's quotas, against the machines that are wanted and those in use.

Both endpoints of a deployment share the quota of an instance type. An endpoint's own
machines count beside the wanted ones only while an update runs both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from deploy.checks import (
    ENDPOINT_USAGE,
    Finding,
    InUse,
    quota_findings,
    quota_name,
)
from deploy.checks.quotas import Quota, usage_quotas
from deploy.commands.endpoint.preflight import has_call
from deploy.config import MAX_NAME, DeployConfig
from deploy.context import Context
from deploy.endpoint.snapshot import Seen
from deploy.errors import DeployError
from deploy.plan.actions import Action
from deploy.queue.endpoint import async_name
from deploy.resources import EndpointState, our_variant

__all__ = ["UNKNOWN_QUOTAS", "other_endpoint", "quota_checks", "usage_findings"]

UNKNOWN_QUOTAS = Finding("quotas", False, "the quotas could not be read, nor checked")
SERVES_ON = "which serves until the new ones do"


def quota_checks(
    context: Context,
    config: DeployConfig,
    actions: Sequence[Action] = (),
    *,
    seen: Seen | None = None,
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
    count = config.endpoint.instance_count
    wanted = dict.fromkeys(config.endpoint.instance_types, count)
    account = seen or context.account
    other = other_endpoint(context, config.name)
    shared = [] if other is None else _in_use(account, other)
    findings = usage_findings(wanted, quotas, ENDPOINT_USAGE, shared)
    is_update = with_update or has_call(actions, "update_endpoint")
    if findings or not is_update:
        return findings
    own = _in_use(account, config.name, SERVES_ON)
    if _is_scaled(account, config.name):
        # An update keeps the number that scaling has set.
        most = max([count, *(n for use in own for n in use.instances.values())])
        wanted = dict.fromkeys(wanted, most)
    beside = usage_findings(wanted, quotas, ENDPOINT_USAGE, [*own, *shared])
    return [replace(finding, is_fatal=False) for finding in beside]


def usage_findings(
    wanted: Mapping[str, int],
    quotas: Mapping[str, Quota],
    usage: str,
    in_use: Sequence[InUse] = (),
) -> list[Finding]:
    """Compare machines by type with the account's quotas; say how to ask for more."""
    name, count = next(iter(wanted.items()))
    first = quotas.get(quota_name(name, usage))
    code = first.code if first else "CODE"
    needed = count + sum(use.instances.get(name, 0) for use in in_use)
    return quota_findings(
        wanted,
        {name: quota.value for name, quota in quotas.items()},
        hint="aws service-quotas request-service-quota-increase --service-code "
        f"sagemaker --quota-code {code} --desired-value {needed}",
        usage=usage,
        in_use=in_use,
    )


def other_endpoint(context: Context, name: str) -> str | None:
    """Return the deployment's other endpoint: real-time or asynchronous."""
    queue = async_name(context.config)
    if name == queue:
        return context.config.name
    return queue if len(queue) <= MAX_NAME else None


def _in_use(account: Seen, name: str, note: str = "") -> list[InUse]:
    """Return the machines of an endpoint; none if the caller has no permission."""
    try:
        state = account.endpoint(name)
        instances = {} if state is None else _instances(account, state)
    except DeployError:
        return []
    return [InUse(name, instances, note)] if any(instances.values()) else []


def _instances(account: Seen, state: EndpointState) -> Mapping[str, int]:
    """Return an endpoint's machines by type."""
    if state.pools:
        return dict(state.pools)
    if state.status in ("Failed", "OutOfService", "Deleting"):
        return {}
    config = account.describe_config(state.config)
    variant = our_variant(config)
    kind = variant.get("InstanceType")
    count = max(state.instance_count or 0, state.desired_count or 0)
    if state.status == "Creating":
        count = max(count, variant.get("InitialInstanceCount", 0))
    return {} if kind is None else {kind: count}


def _is_scaled(account: Seen, name: str) -> bool:
    try:
        state = account.endpoint(name)
    except DeployError:
        return False
    return state is not None and state.is_scaled
