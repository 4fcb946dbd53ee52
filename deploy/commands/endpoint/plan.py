"""Command `plan`: what `deploy` would change and cost, also without credentials."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from deploy.checks import (
    Finding,
    config_findings,
    region_findings,
    unknown_cuda_finding,
)
from deploy.commands.command import Command
from deploy.commands.endpoint.steps.changes import Change, change_lines, change_to_file
from deploy.commands.endpoint.steps.preflight import starts_machine
from deploy.commands.endpoint.steps.quotas import check_quotas, other_endpoint
from deploy.commands.flags import (
    add_machine_arguments,
    override_config,
)
from deploy.config import DeployConfig
from deploy.context import FIX_REQUEST_HINT, Context
from deploy.endpoint.inspection import image_findings, weights_findings
from deploy.endpoint.observer import EmptyAccount
from deploy.endpoint.planner import Planner
from deploy.endpoint.snapshot import Snapshot
from deploy.errors import DeployError
from deploy.machines.catalogue import HOURS_A_DAY, HOURS_A_MONTH, PRICE_NOTE
from deploy.machines.memory import has_plan, memory_lines, memory_plan_of
from deploy.machines.prices import hourly_price, price_lines
from deploy.plan.actions import Action, Call
from deploy.policies.roles import role_findings
from deploy.resources import Endpoint, Identity, endpoint_from

# Placeholder for an unreachable account. No call is made with it.
UNKNOWN = Identity(account="000000000000", region="us-east-1")
UNKNOWN_DIGEST = "????????"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_machine_arguments(parser)
    parser.add_argument(
        "--offline", action="store_true", help="make no AWS call, even with credentials"
    )


def run(context: Context, options: argparse.Namespace) -> int:
    requested = override_config(context.config, options)
    reason = "--offline" if options.offline else _offline_reason(context)
    is_pushed = requested.image.uri is not None
    is_staged = None not in (requested.model.bucket, requested.model.revision)
    config, findings = _fill_placeholders(requested)
    findings += config_findings(config)
    change: Change | None = None
    unknown = _unknown_inputs(requested, config, reason)
    if reason is None:
        target = endpoint_from(config, context.identity)
        seen = Snapshot(
            context.account,
            target.name,
            other=other_endpoint(context, target.name),
            config=target.config.name,
            use_alarms=config.update.use_alarms,
        )
        actions = Planner(seen, context.identity, context.now).deploy(
            target, config.update, is_described=requested == context.config
        )
        change = change_to_file(context, target, seen) if actions else None
        findings += [
            Finding("request", True, sentence, FIX_REQUEST_HINT)
            for sentence in context.rejections(actions)
        ]
        findings += check_quotas(context, config, actions, seen=seen)
        if starts_machine(actions):
            if is_staged:
                findings += weights_findings(context.aws, config)
            if not region_findings(config):
                findings += image_findings(context.aws, config)
            findings += role_findings(context.aws, config)
    else:
        target = endpoint_from(config, UNKNOWN)
        actions = Planner(EmptyAccount(), UNKNOWN, context.now).deploy(
            target, config.update
        )
        if is_pushed and config.image.cuda is None:
            unread = "it is read from the registry, which an offline plan does not call"
            findings.append(unknown_cuda_finding(config.endpoint.ami, unread))
    lines = [
        *_plan_lines(config, target, actions, change, reason),
        *_finding_lines(findings),
    ]
    data = _to_json(config, actions, change, findings, reason) | {"unknown": unknown}
    if unknown:
        data = json.loads(_mask_digests(json.dumps(data, default=str), target))
        lines = [_mask_digests(line, target) for line in lines]
        what = ", ".join(unknown[:-1]) + " and " if len(unknown) > 1 else ""
        what += unknown[-1]
        lines += [
            "",
            f"({UNKNOWN_DIGEST}: a digest that depends on {what}, not known yet)",
        ]
    context.console.print_result(data, lines)
    return 1 if any(finding.is_fatal for finding in findings) else 0


def _fill_placeholders(config: DeployConfig) -> tuple[DeployConfig, list[Finding]]:
    """Return the configuration with placeholders for a missing image or weights.

    The findings are notes on the placeholders.
    """
    image, model = config.image, config.model
    findings = []
    if image.uri is None:
        image = replace(image, uri=f"{image.repository}@sha256:not-pushed-yet")
        findings.append(
            Finding(
                "image",
                False,
                "no image has been pushed yet; its digest changes the names above",
                "chandra-sagemaker image push",
            )
        )
    if model.revision is None:
        model = replace(model, revision="not-staged-yet")
        findings.append(
            Finding(
                "weights",
                False,
                "no weights have been staged yet; their revision changes the names too",
                "chandra-sagemaker model stage",
            )
        )
    if model.bucket is None:
        model = replace(model, bucket="no-bucket-yet")
    return replace(config, image=image, model=model), findings


def _offline_reason(context: Context) -> str | None:
    """Return why no AWS call can be made; None if the identity could be read."""
    if not context.aws.has_credentials:
        return "there are no credentials"
    if context.aws.region is None:
        return "no region is set"
    try:
        context.identity  # noqa: B018
    except DeployError as error:
        return error.message
    return None


def _unknown_inputs(
    config: DeployConfig, filled: DeployConfig, reason: str | None
) -> list[str]:
    """Return the unknown inputs of the digests in names: account, image, weights."""
    needed = {
        "account": reason is not None and config.role is None,
        "image": config.image.uri is None,
        "weights": config.model != filled.model,
    }
    return [name for name, is_unknown in needed.items() if is_unknown]


def _mask_digests(text: str, target: Endpoint) -> str:
    """Replace digests and account numbers made from placeholders by question marks."""
    for name in (target.model.name, target.config.name):
        text = text.replace(name, f"{target.name}-{UNKNOWN_DIGEST}")
    return text.replace(UNKNOWN.account, "?" * len(UNKNOWN.account))


def _plan_lines(
    config: DeployConfig,
    target: Endpoint,
    actions: Sequence[Action],
    change: Change | None,
    reason: str | None,
) -> list[str]:
    lines = [f"endpoint {target.name}, config {target.config.name}"]
    if reason is not None:
        lines.append(f"offline ({reason}): the plan assumes that nothing exists yet")
    lines += [f"image   {target.model.image}"]
    lines += [f"weights {target.model.weights or 'from the hub, at every start'}", ""]
    if actions:
        lines += [f"would {action.sentence}" for action in actions]
    else:
        lines.append("no changes")
    if change is not None and change.differences:
        lines += ["", *change_lines(change)]
    return [
        *lines,
        "",
        *price_lines(config.endpoint),
        "",
        *memory_lines(
            config.endpoint.instance_types,
            config.model.id,
            config.model.weights_gb,
            config.endpoint.environment,
        ),
    ]


def _finding_lines(findings: Sequence[Finding]) -> list[str]:
    lines = []
    for finding in findings:
        lines.append(f"{'refused' if finding.is_fatal else 'note'}: {finding.sentence}")
        if finding.hint:
            lines.append(f"  try: {finding.hint}")
    return ["", *lines] if lines else []


def _to_json(
    config: DeployConfig,
    actions: Sequence[Action],
    change: Change | None,
    findings: Sequence[Finding],
    reason: str | None,
) -> dict[str, Any]:
    machines = config.endpoint
    return {
        "offline": reason,
        "actions": [action.to_json() for action in actions],
        **(change.to_json() if change is not None else {"changes": [], "reverts": []}),
        "findings": [finding.to_json() for finding in findings],
        "prices": {
            name: {
                "hour": price,
                "day": price * HOURS_A_DAY,
                "month": price * HOURS_A_MONTH,
            }
            for name in machines.instance_types
            if (price := hourly_price(name, machines.instance_count)) is not None
        },
        "price_note": PRICE_NOTE,
        "memory": {
            name: plan.to_json()
            for name in machines.instance_types
            if has_plan(config.model.id, machines.environment)
            and (
                plan := memory_plan_of(
                    name, config.model.weights_gb, machines.environment
                )
            )
            is not None
        },
        "calls": sum(isinstance(action, Call) for action in actions),
    }


COMMAND = Command(
    run=run,
    description="Show what `deploy` would change and what it would cost. Works without "
    "credentials.",
    examples=(
        "plan",
        "plan --offline --instance-type ml.g6e.2xlarge",
    ),
    add_arguments=add_arguments,
)
