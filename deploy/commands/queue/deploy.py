"""Command `async deploy`: create or update the asynchronous endpoint."""

from __future__ import annotations

import argparse
from dataclasses import replace

from deploy.commands.command import Command
from deploy.commands.endpoint.steps.apply import (
    FINISH_LATER,
    check_and_confirm,
    verify_endpoint,
)
from deploy.commands.endpoint.steps.changes import (
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
from deploy.resources import tags_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_machine_arguments(parser)
    add_wait_arguments(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    if options.instance_count is not None:
        raise ConfigError(
            "the length of the queue decides the number of machines",
            hint="asynchronous.min_instances and max_instances in chandra.toml",
        )
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
    actions = replace(planner, observer=seen).deploy(
        target, config.update, is_described=is_described
    )
    # Alarms name ARNs of policies, so both are planned again once the policies exist.
    scaling_actions = [*planner.scale(scaling), *planner.set_scaling_alarms(scaling)]
    observed = context.account.read_scaling(target.name)
    change = add_limit_changes(change_to_file(context, target, seen), observed, scaling)
    data = {
        "endpoint": target.name,
        "config": target.config.name,
        "model": target.model.name,
        "actions": [action.to_json() for action in [*actions, *scaling_actions]],
        **change.to_json(),
    }
    all_actions: list[Action] = [*actions, *scaling_actions]
    if all_actions:
        _note_quota(context, config, seen)
    else:
        lines = [f"endpoint {target.name} is as described: no changes"]
        context.console.print_result(data, lines)
        return 0
    executor = context.executor(
        endpoint=target.name, timeout_seconds=options.timeout, is_waiting=options.wait
    )
    if context.is_dry_run:
        check_and_confirm(context, config, target, all_actions, change, seen)
        executor.run(all_actions)
        context.console.print_result(data)
        return 0
    if actions:
        if not check_and_confirm(context, config, target, actions, change, seen):
            return 1
        executor.run(actions)
        if not options.wait:
            words = f"endpoint {target.name} is on its way, without scaling"
            context.console.print_result(data, [words, FINISH_LATER])
            return 0
    else:
        report_change(context, change, scaling_actions)
        if not confirm_change(
            context,
            change,
            scaling_actions,
            seen.read_endpoint(target.name),
            target.name,
        ):
            context.console.report_declined()
            return 1
    verify_endpoint(context, target)
    executor.run(planner.scale(scaling))
    executor.run(planner.set_scaling_alarms(scaling))
    table = config.asynchronous
    context.console.print_result(
        data,
        [
            *([] if is_described else next_deploy_lines(context, target)),
            f"endpoint {target.name} has {table.min_instances} to "
            f"{table.max_instances} machines; they go after "
            f"{table.idle // 60} minutes without work",
            "next: chandra-sagemaker async submit FILE...",
        ],
    )
    return 0


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
