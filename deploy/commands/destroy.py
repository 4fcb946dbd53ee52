"""Command `destroy`: delete everything that carries the deployment's tag."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from deploy.commands.command import Command
from deploy.commands.flags import (
    parse_seconds,
)
from deploy.commands.recorded import forget_missing
from deploy.context import Context
from deploy.errors import ConfigError
from deploy.teardown.inventory import read_inventories
from deploy.teardown.plan import Inventory, plan_teardown
from deploy.teardown.shared import keep_shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--all",
        action="store_true",
        help="also delete images, staged weights, logs, the roles that `iam` created, "
        "and the documents and results of `async`, unless another region uses them",
    )
    parser.add_argument(
        "--keep-global",
        action="store_true",
        help="with --all: keep roles and objects in S3, and skip the check of other "
        "regions",
    )
    parser.add_argument(
        "--not-in",
        action="append",
        default=[],
        metavar="REGION",
        help="with --all: skip the check of this region, because nothing there uses "
        "the roles and weights; a role with a policy for it stays; may be repeated",
    )
    parser.add_argument(
        "--timeout",
        type=parse_seconds,
        default=3600,
        metavar="SECONDS",
        help="stop waiting for the deletion after SECONDS (default 3600)",
    )


def run(context: Context, options: argparse.Namespace) -> int:
    if not options.all and (options.keep_global or options.not_in):
        raise ConfigError(
            "--keep-global and --not-in go with --all",
            hint="chandra-sagemaker destroy, which keeps everything that is global",
        )
    name, region = context.config.name, context.identity.region
    inventories, notes = _found(context, options)
    actions = [
        action
        for inventory in inventories
        for action in plan_teardown(inventory, everything=options.all)
    ]
    kept = [each for inventory in inventories for each in inventory.kept]
    data = {
        "deployment": name,
        "region": region,
        "destroyed": False,
        "actions": [action.to_json() for action in actions],
        "kept": [each.to_json() for each in kept],
    }
    for action in actions:
        context.console.say(f"would {action.sentence}")
    for line in (*(f"would keep {each.sentence}" for each in kept), *notes):
        context.console.say(line)
    if not actions:
        lines = [f"nothing else carries the tag of deployment {name} in {region}"]
        if not kept:
            lines = [f"nothing carries the tag of deployment {name} in {region}"]
        if options.all and not context.is_dry_run:
            lines += forget_missing(context)
        context.console.result(data, lines)
        return 0
    if context.is_dry_run:
        context.console.result(data)
        return 0
    if not context.console.confirm(f"destroy these of deployment {name} in {region}?"):
        context.console.report_declined()
        return 1
    context.executor(timeout_seconds=options.timeout).run(actions)
    lines = [f"deployment {name} is gone from {region}"]
    lines += [f"kept {each.sentence}" for each in kept]
    if options.all:
        lines += forget_missing(context)
    else:
        lines.append("images, weights, logs and roles are kept: --all")
    context.console.result(data | {"destroyed": True}, lines)
    return 0


def _found(
    context: Context, options: argparse.Namespace
) -> tuple[Sequence[Inventory], Sequence[str]]:
    """Return the resources to delete, except those used in other regions, and notes."""
    found = read_inventories(context.aws, context.config, everything=options.all)
    if not options.all:
        return found, []
    if not options.keep_global:
        context.console.say("asking other regions: roles and buckets are global")
    return keep_shared(
        context.aws,
        context.config,
        found,
        keeps_global=options.keep_global,
        skipped=options.not_in,
    )


COMMAND = Command(
    run=run,
    description="Delete everything in this region that carries this deployment's tag, "
    "after listing it.",
    examples=(
        "destroy --dry-run",
        "destroy --all --keep-global",
    ),
    add_arguments=add_arguments,
)
