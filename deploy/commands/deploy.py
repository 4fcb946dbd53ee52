"""Make the endpoint as chandra.toml describes it."""

from __future__ import annotations

import argparse

from deploy.commands.context import Context
from deploy.commands.wanted import (
    UNNOTED,
    add_machine_arguments,
    add_wait_arguments,
    checked,
    compare,
    may_go_on,
    with_flags,
)
from deploy.prices import price_lines
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
        "actions": [action.to_json() for action in actions],
    }
    if not actions:
        context.console.result(
            data, [f"endpoint {wanted.name} is as described: no changes"]
        )
        return 0
    checked(context, config, actions)
    for line in price_lines(config.endpoint):
        context.console.say(line)
    if not may_go_on(context, wanted.name, actions):
        context.console.declined()
        return 1
    context.run(actions, timeout_seconds=options.timeout, is_waiting=options.wait)
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
    context.console.result(data, lines)
    return 0
