"""Checks, confirmation and execution of a plan for an endpoint."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.checks import Finding, checks_of
from deploy.commands.endpoint.absent import absence_notes, schedule_notes
from deploy.commands.endpoint.changes import (
    Change,
    confirm_change,
    deletes_what_serves,
    report_change,
)
from deploy.commands.endpoint.preflight import (
    image_checks,
    role_checks,
    weights_checks,
)
from deploy.commands.endpoint.quotas import quota_checks
from deploy.config import DeployConfig, is_secret
from deploy.context import Context
from deploy.endpoint.planner import differences
from deploy.errors import ConfigError, ResourceFailedError
from deploy.machines.prices import price_lines
from deploy.plan.actions import Action, Call
from deploy.plan.executor import begun
from deploy.resources import HIDDEN, Target

__all__ = [
    "FINISH_LATER",
    "apply_plan",
    "confirm_recreation",
    "describe_actions",
    "refuse_if_fatal",
    "run_checks",
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


def run_checks(
    context: Context, config: DeployConfig, actions: Sequence[Action]
) -> None:
    """Run the preflight checks of a plan; raises ConfigError if it would fail."""
    refuse_if_fatal(
        context,
        [
            *checks_of(config),
            *quota_checks(context, config, actions),
            *weights_checks(context, config, actions),
            *image_checks(context, config, actions),
            *role_checks(context, config, actions),
            *absence_notes(context, config.name),
            *schedule_notes(context, config.name, actions),
        ],
    )


def confirm_recreation(context: Context, name: str, actions: Sequence[Action]) -> bool:
    """Ask before the plan deletes an endpoint that may serve; --yes answers.

    Return False if the answer is no.
    """
    if context.is_dry_run or not deletes_what_serves(context, name, actions):
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
        for action in begun(actions, is_waiting=options.wait)
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


def apply_plan(
    context: Context,
    options: argparse.Namespace,
    config: DeployConfig,
    target: Target,
    actions: Sequence[Action],
    data: Mapping[str, Any],
    change: Change,
) -> int | None:
    """Check a plan, ask for confirmation and execute it.

    Return the exit status if the command ends here: without changes, after a dry run
    or if the user declines. Return None if the plan was executed.
    """
    if not actions:
        context.console.result(
            data, [f"endpoint {target.name} is as described: no changes"]
        )
        return 0
    run_checks(context, config, actions)
    for line in price_lines(config.endpoint):
        context.console.say(line)
    if config.update.use_alarms and _has_no_rollback(actions):
        is_ours = target.name == context.config.name
        flag = "" if is_ours else " --async"
        context.console.say(f"{NO_ALARMS}{flag} --create")
    report_change(context, change, actions)
    is_agreed = confirm_change(context, target.name, change, actions)
    if not is_agreed or not confirm_recreation(context, target.name, actions):
        context.console.declined()
        return 1
    context.run(
        actions,
        endpoint=target.name,
        timeout_seconds=options.timeout,
        is_waiting=options.wait,
    )
    if context.is_dry_run:
        context.console.result(data)
        return 0
    return None


def _has_no_rollback(actions: Sequence[Action]) -> bool:
    """True if the plan updates an endpoint without alarms that could roll it back."""
    return any(
        "AutoRollbackConfiguration" not in action.params.get("DeploymentConfig", {})
        for action in actions
        if isinstance(action, Call) and action.operation == "update_endpoint"
    )


def verify_endpoint(context: Context, target: Target) -> None:
    """Raise ResourceFailedError if the endpoint differs from `target` after the wait.

    SageMaker's waiter counts a rollback as a success.
    """
    state = context.account.endpoint(target.name)
    drift = ["it is gone"] if state is None else differences(target, state)
    if drift:
        raise ResourceFailedError(
            f"endpoint {target.name} is not as it was asked for: {'; '.join(drift)}",
            hint="chandra-sagemaker status",
        )
