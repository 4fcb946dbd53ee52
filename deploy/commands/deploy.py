"""Make the endpoint as chandra.toml describes it.

Changes that an update or a rollback has made since are listed and reverted.
"""

from __future__ import annotations

import argparse

from deploy.commands.changes import change_to_file
from deploy.commands.next_deploy import next_deploy_lines
from deploy.commands.quotas import other_endpoint
from deploy.commands.wanted import (
    UNNOTED,
    add_machine_arguments,
    add_wait_arguments,
    check_and_confirm,
    compare,
    listed,
    with_flags,
)
from deploy.context import Context
from deploy.endpoint.planner import Planner
from deploy.endpoint.snapshot import Snapshot
from deploy.resources import endpoint_from

NAME = "deploy"
HELP = "make the endpoint as chandra.toml describes it; twice changes nothing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_machine_arguments(parser)
    add_wait_arguments(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    config = with_flags(context.config, options)
    wanted = endpoint_from(config, context.identity)
    is_described = config == context.config
    seen = Snapshot(
        context.account,
        wanted.name,
        other=other_endpoint(context, wanted.name),
        config=wanted.config.name,
        use_alarms=config.update.use_alarms,
    )
    planner = Planner(seen, context.identity, context.now)
    actions = planner.deploy(wanted, config.update, is_described=is_described)
    change = change_to_file(context, wanted, seen)
    data = {
        "endpoint": wanted.name,
        "config": wanted.config.name,
        "model": wanted.model.name,
        "actions": listed(actions, options),
        **change.to_json(),
    }
    if not actions:
        lines = [f"endpoint {wanted.name} is as described: no changes"]
        context.console.result(data, lines)
        return 0
    if not check_and_confirm(context, config, wanted, actions, change, seen):
        return 1
    executor = context.executor(
        timeout_seconds=options.timeout, is_waiting=options.wait
    )
    executor.run(actions)
    if context.is_dry_run:
        context.console.result(data)
        return 0
    if options.wait:
        compare(context, wanted)
        lines = [
            f"endpoint {wanted.name} is in service",
            "next: chandra-sagemaker invoke FILE",
        ]
    else:
        lines = [
            f"endpoint {wanted.name} is on its way",
            UNNOTED,
        ]
    if not is_described:
        lines += next_deploy_lines(context, wanted)
    context.console.result(data, lines)
    return 0
