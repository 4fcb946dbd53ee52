"""Command `deploy`: create or update the endpoint from chandra.toml."""

from __future__ import annotations

import argparse

from deploy.commands.command import Command
from deploy.commands.endpoint.steps.apply import (
    FINISH_LATER,
    check_and_confirm,
    describe_actions,
    verify_endpoint,
)
from deploy.commands.endpoint.steps.changes import change_to_file
from deploy.commands.endpoint.steps.next_deploy import next_deploy_lines
from deploy.commands.endpoint.steps.quotas import other_endpoint
from deploy.commands.flags import (
    add_machine_arguments,
    add_wait_arguments,
    override_config,
)
from deploy.context import Context
from deploy.endpoint.planner import Planner
from deploy.endpoint.snapshot import Snapshot
from deploy.resources import endpoint_from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_machine_arguments(parser)
    add_wait_arguments(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    config = override_config(context.config, options)
    target = endpoint_from(config, context.identity)
    is_described = config == context.config
    seen = Snapshot(
        context.account,
        target.name,
        other=other_endpoint(context, target.name),
        config=target.config.name,
        use_alarms=config.update.use_alarms,
    )
    planner = Planner(seen, context.identity, context.now)
    actions = planner.deploy(target, config.update, is_described=is_described)
    change = change_to_file(context, target, seen)
    data = {
        "endpoint": target.name,
        "config": target.config.name,
        "model": target.model.name,
        "actions": describe_actions(actions, options),
        **change.to_json(),
    }
    if not actions:
        lines = [f"endpoint {target.name} is as described: no changes"]
        context.console.print_result(data, lines)
        return 0
    if not check_and_confirm(context, config, target, actions, change, seen):
        return 1
    executor = context.executor(
        endpoint=target.name, timeout_seconds=options.timeout, is_waiting=options.wait
    )
    executor.run(actions)
    if context.is_dry_run:
        context.console.print_result(data)
        return 0
    if options.wait:
        verify_endpoint(context, target)
        lines = [
            f"endpoint {target.name} is in service",
            "next: chandra-sagemaker invoke FILE",
        ]
    else:
        lines = [
            f"endpoint {target.name} is being created or updated",
            FINISH_LATER,
        ]
    if not is_described:
        lines += next_deploy_lines(context, target)
    context.console.print_result(data, lines)
    return 0


COMMAND = Command(
    run=run,
    description="Create or update the endpoint as chandra.toml describes it. Running "
    "it again without changes does nothing. Changes that an update or a rollback has "
    "made are listed and reverted.",
    examples=(
        "deploy --dry-run",
        "deploy --instance-type ml.g6e.2xlarge --yes",
    ),
    add_arguments=add_arguments,
)
