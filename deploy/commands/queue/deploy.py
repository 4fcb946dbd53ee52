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
from deploy.resources import Endpoint, tags_of

COUNT_FOLLOWS_QUEUE = "the length of the queue decides the number of machines"


@dataclass(frozen=True, slots=True)
class _Plan:
    """Changes to the asynchronous endpoint and to its scaling."""

    config: DeployConfig
    is_described: bool
    """True if chandra.toml alone describes the endpoint, without flags."""
    target: Endpoint
    scaling: Scaling
    seen: Snapshot
    endpoint_actions: Sequence[Action]
    scaling_actions: Sequence[Action]
    """Actions as planned before the endpoint is changed."""
    change: Change

    @property
    def actions(self) -> list[Action]:
        return [*self.endpoint_actions, *self.scaling_actions]

    def to_json(self) -> dict[str, Any]:
        return {
            "endpoint": self.target.name,
            "config": self.target.config.name,
            "model": self.target.model.name,
            "actions": [action.to_json() for action in self.actions],
            **self.change.to_json(),
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_machine_arguments(parser, count_help=f"not supported: {COUNT_FOLLOWS_QUEUE}")
    add_wait_arguments(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    if options.instance_count is not None:
        raise ConfigError(
            COUNT_FOLLOWS_QUEUE,
            hint="asynchronous.min_instances and max_instances in chandra.toml",
        )
    plan = _build_plan(context, options)
    if not plan.actions:
        lines = [f"endpoint {plan.target.name} is as described: no changes"]
    elif not _check_and_confirm(context, plan):
        return 1
    else:
        lines = _execute(context, plan, options)
    context.console.print_result(plan.to_json(), lines)
    return 0


def _build_plan(context: Context, options: argparse.Namespace) -> _Plan:
    """Compare the endpoint that is described with the one that exists."""
    config = override_config(context.config, options)
    is_described = config == context.config
    target = build_async_endpoint(config, context.identity)
    config = async_config(config, context.identity)
    scaling = Scaling.from_table(target.name, config.asynchronous, tags_of(config))
    seen = Snapshot(
        context.account,
        target.name,
        other=other_endpoint(context, target.name),
        config=target.config.name,
        use_alarms=config.update.use_alarms,
    )
    planner = context.planner
    endpoint_actions = replace(planner, observer=seen).deploy(
        target, config.update, is_described=is_described
    )
    scaling_actions = [*planner.scale(scaling), *planner.set_scaling_alarms(scaling)]
    observed = context.account.scaling(target.name)
    change = add_limit_changes(change_to_file(context, target, seen), observed, scaling)
    return _Plan(
        config,
        is_described,
        target,
        scaling,
        seen,
        endpoint_actions,
        scaling_actions,
        change,
    )


def _check_and_confirm(context: Context, plan: _Plan) -> bool:
    """Check that a plan can succeed, show what it changes, and ask for consent.

    Raises ConfigError for a check that fails. Returns False if the user declines.
    """
    target, seen, change = plan.target, plan.seen, plan.change
    _note_quota(context, plan.config, seen)
    if plan.endpoint_actions or context.is_dry_run:
        actions = plan.actions if context.is_dry_run else plan.endpoint_actions
        return check_and_confirm(context, plan.config, target, actions, change, seen)
    report_change(context, change, plan.scaling_actions)
    state = seen.endpoint(target.name)
    if confirm_change(context, change, plan.scaling_actions, state, target.name):
        return True
    context.console.report_declined()
    return False


def _execute(context: Context, plan: _Plan, options: argparse.Namespace) -> list[str]:
    """Change the endpoint, then its scaling; return the lines of the report.

    With --no-wait, a changed endpoint gets its scaling in the next run. With --dry-run,
    all actions are printed.
    """
    name, table, planner = plan.target.name, plan.config.asynchronous, context.planner
    executor = context.executor(
        endpoint=name, timeout_seconds=options.timeout, is_waiting=options.wait
    )
    if context.is_dry_run:
        executor.run(plan.actions)
        return []
    if plan.endpoint_actions:
        executor.run(plan.endpoint_actions)
        if not options.wait:
            words = f"endpoint {name} is being created or updated, without scaling"
            return [words, FINISH_LATER]
    verify_endpoint(context, plan.target)
    # Alarms name ARNs of policies, so both are planned again once the policies exist.
    executor.run(planner.scale(plan.scaling))
    executor.run(planner.set_scaling_alarms(plan.scaling))
    return [
        *([] if plan.is_described else next_deploy_lines(context, plan.target)),
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
