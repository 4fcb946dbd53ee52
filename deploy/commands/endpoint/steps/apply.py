"""Checks and confirmation of a plan for an endpoint, and its verification."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.checks import Finding, config_findings, region_findings
from deploy.commands.endpoint.steps.absent import absence_notes, schedule_notes
from deploy.commands.endpoint.steps.changes import (
    Change,
    confirm_change,
    deletes_what_serves,
    report_change,
)
from deploy.commands.endpoint.steps.preflight import starts_machine
from deploy.commands.endpoint.steps.quotas import check_quotas
from deploy.config import DeployConfig, is_secret
from deploy.context import Context
from deploy.endpoint.inspection import image_findings, weights_findings
from deploy.endpoint.planner import differences
from deploy.endpoint.snapshot import Snapshot
from deploy.errors import ConfigError, ResourceFailedError
from deploy.machines.prices import price_lines
from deploy.plan.actions import Action, Call
from deploy.plan.executor import select_actions
from deploy.policies.roles import role_findings
from deploy.resources import HIDDEN, EndpointState, Target

__all__ = [
    "FINISH_LATER",
    "check_and_confirm",
    "confirm_recreation",
    "describe_actions",
    "refuse_if_fatal",
    "verify_endpoint",
]

NO_ALARMS = (
    "note: there are no alarms, so nothing brings the old machines back when the new "
    "ones answer with errors: chandra-sagemaker alarms"
)
FINISH_LATER = (
    "next: the same command without --no-wait; until then rollback and the schedule "
    "do not know of it"
)


def refuse_if_fatal(context: Context, findings: Sequence[Finding]) -> None:
    """Print findings as notes; raises ConfigError if one is fatal."""
    for finding in findings:
        if not finding.is_fatal:
            context.console.say(f"note: {finding.sentence}")
            if finding.hint:
                context.console.say(f"  try: {finding.hint}")
    fatal = [finding for finding in findings if finding.is_fatal]
    if fatal:
        raise ConfigError(
            "; ".join(finding.sentence for finding in fatal), hint=fatal[0].hint
        )


def confirm_recreation(
    context: Context,
    name: str,
    actions: Sequence[Action],
    state: EndpointState | None,
) -> bool:
    """Ask before the plan deletes an endpoint that may serve; --yes answers.

    Return False if the answer is no.
    """
    if context.is_dry_run or not deletes_what_serves(state, actions):
        return True
    return context.console.confirm(
        f"delete endpoint {name} and make it again? until then its callers get errors"
    )


def describe_actions(
    actions: Sequence[Action], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return the actions of a command, with or without waits, for --json.

    Values of environment variables that look like credentials are hidden.
    """
    return [
        {name: _without_secrets(value) for name, value in action.to_json().items()}
        for action in select_actions(actions, is_waiting=options.wait)
    ]


def _without_secrets(value: Any, name: str = "") -> Any:
    """Return the parameters of a call with secrets hidden."""
    if isinstance(value, Mapping):
        return {
            key: HIDDEN
            if name == "Environment" and is_secret(key, str(item))
            else _without_secrets(item, key)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_without_secrets(item) for item in value]
    return value


def check_and_confirm(
    context: Context,
    config: DeployConfig,
    target: Target,
    actions: Sequence[Action],
    change: Change,
    seen: Snapshot,
) -> bool:
    """Check that a plan can succeed, show what it changes, and ask for consent.

    Raises ConfigError for a check that fails. Returns False if the user declines.
    """
    findings = config_findings(config)
    findings += check_quotas(context, config, actions, seen=seen)
    if starts_machine(actions):
        findings += weights_findings(context.aws, config)
        # An image of another region is reported from the configuration alone.
        if not region_findings(config):
            findings += image_findings(context.aws, config)
        findings += role_findings(context.aws, config)
    findings += absence_notes(context, config.name, seen)
    findings += schedule_notes(context, config.name, actions, seen)
    refuse_if_fatal(context, findings)
    for line in price_lines(config.endpoint):
        context.console.say(line)
    if config.update.use_alarms and _has_no_rollback(actions):
        is_ours = target.name == context.config.name
        flag = "" if is_ours else " --async"
        context.console.say(f"{NO_ALARMS}{flag} --create")
    report_change(context, change, actions)
    state = seen.read_endpoint(target.name)
    is_agreed = confirm_change(context, change, actions, state, target.name)
    if is_agreed and confirm_recreation(context, target.name, actions, state):
        return True
    context.console.report_declined()
    return False


def _has_no_rollback(actions: Sequence[Action]) -> bool:
    """Return True if the plan updates an endpoint without alarms for a roll back."""
    return any(
        "AutoRollbackConfiguration" not in action.params.get("DeploymentConfig", {})
        for action in actions
        if isinstance(action, Call) and action.operation == "update_endpoint"
    )


def verify_endpoint(context: Context, target: Target) -> None:
    """Raise ResourceFailedError if the endpoint differs from `target` after the wait.

    SageMaker's waiter counts a rollback as a success.
    """
    state = context.account.read_endpoint(target.name)
    drift = ["it was deleted"] if state is None else differences(target, state)
    if drift:
        raise ResourceFailedError(
            f"endpoint {target.name} differs from the requested config: "
            + "; ".join(drift),
            hint="chandra-sagemaker status",
        )
