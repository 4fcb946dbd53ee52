"""Command `deploy`: create or update the endpoint from chandra.toml."""

from __future__ import annotations

import argparse

from deploy.commands.command import Command
from deploy.commands.endpoint.apply import (
    FINISH_LATER,
    apply_plan,
    describe_actions,
    verify_endpoint,
)
from deploy.commands.endpoint.changes import change_to_file
from deploy.commands.endpoint.next_deploy import next_deploy_lines
from deploy.commands.flags import (
    add_machine_arguments,
    add_wait_arguments,
    override_config,
)
from deploy.context import Context
from deploy.resources import endpoint_from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_machine_arguments(parser)
    add_wait_arguments(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    config = override_config(context.config, options)
    wanted = endpoint_from(config, context.identity)
    is_described = config == context.config
    actions = context.planner.deploy(wanted, config.update, is_described=is_described)
    change = change_to_file(context, wanted)
    data = {
        "endpoint": wanted.name,
        "config": wanted.config.name,
        "model": wanted.model.name,
        "actions": describe_actions(actions, options),
        **change.to_json(),
    }
    status = apply_plan(context, options, config, wanted, actions, data, change)
    if status is not None:
        return status
    if options.wait:
        verify_endpoint(context, wanted)
        lines = [
            f"endpoint {wanted.name} is in service",
            "next: chandra-sagemaker invoke FILE",
        ]
    else:
        lines = [
            f"endpoint {wanted.name} is on its way",
            FINISH_LATER,
        ]
    if not is_described:
        lines += next_deploy_lines(context, wanted)
    context.console.result(data, lines)
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
