"""Make the endpoint as chandra.toml describes it."""

from __future__ import annotations

import argparse

from deploy.commands.context import Context
from deploy.commands.wanted import (
    UNNOTED,
    add_machine_arguments,
    add_wait_arguments,
    carried_out,
    compare,
    listed,
    with_flags,
)
from deploy.resources import endpoint_from

NAME = "deploy"
HELP = "make the endpoint as chandra.toml describes it; twice changes nothing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_machine_arguments(parser)
    add_wait_arguments(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    config = with_flags(context.config, options)
    wanted = endpoint_from(config, context.identity)
    actions = context.planner.deploy(wanted, config.update)
    data = {
        "endpoint": wanted.name,
        "config": wanted.config.name,
        "model": wanted.model.name,
        "actions": listed(actions, options),
    }
    status = carried_out(context, options, config, wanted, actions, data)
    if status is not None:
        return status
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
    context.console.result(data, lines)
    return 0
