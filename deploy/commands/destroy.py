"""Remove what carries this deployment's tag, and nothing else."""

from __future__ import annotations

import argparse

from deploy.aws.inventory import inventories_of
from deploy.commands.context import Context
from deploy.commands.wanted import seconds
from deploy.config import lock_path
from deploy.teardown import teardown

NAME = "destroy"
HELP = "remove everything that carries this deployment's tag, after listing it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--all",
        action="store_true",
        help="also images, staged weights, logs, the roles that `iam` made, and the "
        "documents and results of `async`",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=3600,
        metavar="SECONDS",
        help="stop waiting for the endpoint to go after this long (default 3600)",
    )


def run(context: Context, options: argparse.Namespace) -> int:
    name = context.config.name
    actions = [
        action
        for inventory in inventories_of(
            context.aws, context.config, everything=options.all
        )
        for action in teardown(inventory, everything=options.all)
    ]
    data = {
        "deployment": name,
        "destroyed": False,
        "actions": [action.to_json() for action in actions],
    }
    if not actions:
        context.console.result(data, [f"nothing carries the tag of deployment {name}"])
        return 0
    for action in actions:
        context.console.say(f"would {action.sentence}")
    if context.is_dry_run:
        context.console.result(data)
        return 0
    if not context.console.confirm(f"destroy these of deployment {name}?"):
        context.console.declined()
        return 1
    context.run(actions, timeout_seconds=options.timeout)
    lines = [f"deployment {name} is gone"]
    lock = lock_path(context.config_path)
    if not options.all:
        lines.append("images, weights, logs and roles are kept: --all")
    elif lock.exists():
        lines.append(
            f"{lock.name} still names its image and weights: delete it before you "
            "deploy again"
        )
    context.console.result(data | {"destroyed": True}, lines)
    return 0
