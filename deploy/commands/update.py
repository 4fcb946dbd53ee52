"""Change a running endpoint, beside the old machines or after them."""

from __future__ import annotations

import argparse
from dataclasses import replace

from deploy.commands.context import Context
from deploy.commands.wanted import (
    UNNOTED,
    add_machine_arguments,
    add_wait_arguments,
    blaming,
    carried_out,
    compare,
    listed,
    with_flags,
)
from deploy.errors import NotFoundError
from deploy.resources import endpoint_from

NAME = "update"
HELP = "change machines, image, timeouts or environment of a running endpoint"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_machine_arguments(parser)
    parser.add_argument(
        "--env",
        action="append",
        metavar="NAME=VALUE",
        help="a variable of the container, in place of the file's; again for more",
    )
    for flag in ("startup", "download"):
        parser.add_argument(
            f"--{flag}-timeout",
            type=int,
            metavar="SECONDS",
            help=f"in place of endpoint.{flag}_timeout_seconds",
        )
    parser.add_argument(
        "--strategy",
        choices=("blue-green", "recreate"),
        help="recreate deletes the endpoint first: its callers get errors for 10 to 20 "
        "minutes, and longer where the new one fails",
    )
    parser.add_argument(
        "--bake",
        type=int,
        metavar="SECONDS",
        help="how long the old machines stay, in place of update.bake_seconds",
    )
    add_wait_arguments(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    config = with_flags(context.config, options)
    update = config.update
    if options.strategy is not None:
        update = replace(update, strategy=options.strategy)
    if options.bake is not None:
        with blaming(options):
            update = replace(update, bake_seconds=options.bake)
    wanted = endpoint_from(config, context.identity)
    if context.account.endpoint(wanted.name) is None and not (
        # Deleted already by one that was interrupted: this one goes on from there.
        update.strategy == "recreate" and context.account.history(wanted.name)
    ):
        raise NotFoundError(
            f"there is no endpoint {wanted.name} to update",
            hint="chandra-sagemaker deploy",
        )
    actions = context.planner.deploy(wanted, update)
    data = {
        "endpoint": wanted.name,
        "config": wanted.config.name,
        "strategy": update.strategy,
        "actions": listed(actions, options),
    }
    status = carried_out(context, options, config, wanted, actions, data)
    if status is not None:
        return status
    if options.wait:
        compare(context, wanted)
    lines = [f"endpoint {wanted.name} {'has' if options.wait else 'gets'} config "
             f"{wanted.config.name}"]  # fmt: skip
    if not options.wait:
        lines.append(UNNOTED)
    if config != context.config:
        lines.append(
            f"{context.config_path.name} still says otherwise: write it there too, or "
            "the next deploy goes back"
        )
    context.console.result(data, lines)
    return 0
