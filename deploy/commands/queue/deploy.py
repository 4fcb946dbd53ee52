"""Command `async deploy`: create or update the asynchronous endpoint."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from deploy.commands.command import Command
from deploy.commands.endpoint.steps.apply import (
    FINISH_LATER,
    check_and_confirm,
    verify_endpoint,
)
from deploy.commands.endpoint.steps.changes import (
    Change,
    change_to_file,
    confirm_change,
    report_change,
)
from deploy.commands.endpoint.steps.next_deploy import next_deploy_lines
from deploy.commands.endpoint.steps.quotas import check_quotas, other_endpoint
from deploy.commands.flags import (
    add_machine_arguments,
    add_wait_arguments,
    override_config,
)
from deploy.commands.queue.limits import add_limit_changes
from deploy.config import DeployConfig
from deploy.context import Context
from deploy.endpoint.snapshot import Snapshot
from deploy.errors import ConfigError
from deploy.plan.actions import Action
from deploy.queue.endpoint import async_config, build_async_endpoint
from deploy.queue.scaling import Scaling
from deploy.resources import Endpoint, EndpointState, tags_of

COUNT_FOLLOWS_QUEUE = "the length of the queue decides the number of machines"


@dataclass(frozen=True, slots=True)
class _Description:
    """Asynchronous endpoint as chandra.toml and the flags describe it."""

    config: DeployConfig
    endpoint: Endpoint
    scaling: Scaling
    is_from_file: bool
    """True if chandra.toml alone describes it, without flags."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_machine_arguments(parser, count_help=f"not supported: {COUNT_FOLLOWS_QUEUE}")
    add_wait_arguments(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    description = _read_description(context, options)
    config, target = description.config, description.endpoint
    planner, scaling = context.planner, description.scaling
    seen = Snapshot(
        context.account,
        target.name,
        other=other_endpoint(context, target.name),
        config=target.config.name,
        use_alarms=config.update.use_alarms,
    )
    actions = replace(planner, observer=seen).deploy(
        target, config.update, is_described=description.is_from_file
    )
    scaling_actions = [*planner.scale(scaling), *planner.set_scaling_alarms(scaling)]
    all_actions: list[Action] = [*actions, *scaling_actions]
    observed = context.account.read_scaling(target.name)
    change = add_limit_changes(change_to_file(context, target, seen), observed, scaling)
    data = _to_json(target, all_actions, change)
    if not all_actions:
        lines = [f"endpoint {target.name} is as described: no changes"]
        context.console.print_result(data, lines)
        return 0
    _note_quota(context, config, seen)
    if actions or context.is_dry_run:
        checked = all_actions if context.is_dry_run else actions
        is_agreed = check_and_confirm(context, config, target, checked, change, seen)
    else:
        state = seen.read_endpoint(target.name)
        is_agreed = _confirm_scaling(context, change, scaling_actions, state, target)
    if not is_agreed:
        return 1
    executor = context.executor(
        endpoint=target.name, timeout_seconds=options.timeout, is_waiting=options.wait
    )
    executor.run(all_actions if context.is_dry_run else actions)
    is_scaled_later = bool(actions) and not options.wait
    if not context.is_dry_run and not is_scaled_later:
        verify_endpoint(context, target)
        # Alarms name ARNs of policies, so both are planned again once these exist.
        executor.run(planner.scale(scaling))
        executor.run(planner.set_scaling_alarms(scaling))
    context.console.print_result(
        data, _result_lines(context, description, is_scaled_later=is_scaled_later)
    )
    return 0


def _read_description(context: Context, options: argparse.Namespace) -> _Description:
    """Return the endpoint to deploy; raises ConfigError for --instance-count."""
    if options.instance_count is not None:
        raise ConfigError(
            COUNT_FOLLOWS_QUEUE,
            hint="asynchronous.min_instances and max_instances in chandra.toml",
        )
    config = override_config(context.config, options)
    endpoint = build_async_endpoint(config, context.identity)
    changed = async_config(config, context.identity)
    scaling = Scaling.from_table(endpoint.name, changed.asynchronous, tags_of(changed))
    return _Description(changed, endpoint, scaling, config == context.config)


def _to_json(
    target: Endpoint, actions: Sequence[Action], change: Change
) -> dict[str, Any]:
    return {
        "endpoint": target.name,
        "config": target.config.name,
        "model": target.model.name,
        "actions": [action.to_json() for action in actions],
        **change.to_json(),
    }


def _confirm_scaling(
    context: Context,
    change: Change,
    actions: Sequence[Action],
    state: EndpointState | None,
    target: Endpoint,
) -> bool:
    """Show a change of the scaling alone, and ask for consent."""
    report_change(context, change, actions)
    if confirm_change(context, change, actions, state, target.name):
        return True
    context.console.report_declined()
    return False


def _result_lines(
    context: Context, description: _Description, *, is_scaled_later: bool
) -> list[str]:
    """Return the lines of the report; none with --dry-run."""
    name, table = description.endpoint.name, description.config.asynchronous
    if context.is_dry_run:
        return []
    if is_scaled_later:
        words = f"endpoint {name} is being created or updated, without scaling"
        return [words, FINISH_LATER]
    is_lasting = description.is_from_file
    return [
        *([] if is_lasting else next_deploy_lines(context, description.endpoint)),
        f"endpoint {name} has {table.min_instances} to {table.max_instances} machines; "
        f"they stop after {table.idle // 60} idle minutes",
        "next: chandra-sagemaker async submit FILE...",
    ]


def _note_quota(context: Context, config: DeployConfig, seen: Snapshot) -> None:
    """Print a note if the quota allows fewer machines than max_instances."""
    table = config.asynchronous
    most = replace(config.endpoint, instance_count=table.max_instances)
    for finding in check_quotas(context, replace(config, endpoint=most), seen=seen):
        if finding.is_fatal and table.max_instances > 1:
            context.console.say(
                f"note: {finding.sentence} (asynchronous.max_instances)"
            )


COMMAND = Command(
    run=run,
    description="Create or update the asynchronous endpoint: a queue, and between no "
    "machine and asynchronous.max_instances. Running it again without changes does "
    "nothing.",
    examples=(
        "async deploy --dry-run",
        "async deploy --instance-type ml.g6e.2xlarge",
    ),
    add_arguments=add_arguments,
)
