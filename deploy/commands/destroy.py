"""Command `destroy`: delete everything that carries the deployment's tag."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from deploy.commands.command import Command
from deploy.commands.flags import (
    parse_seconds,
)
from deploy.commands.recorded import forget_missing
from deploy.config import DeployConfig
from deploy.context import Context
from deploy.errors import AccessDeniedError, ConfigError
from deploy.plan.actions import Action
from deploy.queue.endpoint import async_config
from deploy.teardown.inventory import (
    read_inventory,
    with_exchanged_objects,
    with_stored_resources,
)
from deploy.teardown.plan import Inventory, KeptResource, plan_teardown
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
        help="stop the wait for each endpoint after SECONDS (default 3600)",
    )


def run(context: Context, options: argparse.Namespace) -> int:
    _refuse_flags_without_all(options)
    aws, name, region = context.aws, context.config.name, context.identity.region
    inventories: list[Inventory] = []
    notes: Sequence[str] = ()
    for config in _endpoint_configs(context):
        is_queue = config.name != name
        try:
            inventory = read_inventory(aws, config)
            if options.all:
                models = [model for each in inventories for model in each.models]
                inventory = with_stored_resources(
                    aws, config, inventory, deleted_models=models
                )
        except AccessDeniedError:
            # The least policy names the queue's endpoint only if the configuration has
            # one.
            if not is_queue or config.asynchronous.bucket is not None:
                raise
            continue
        if is_queue and options.all:
            inventory = with_exchanged_objects(aws, context.config, inventory)
        inventories.append(inventory)
    if options.all:
        if not options.keep_global:
            context.console.say("asking other regions: roles and buckets are global")
        inventories, notes = keep_shared(
            aws,
            context.config,
            inventories,
            keeps_global=options.keep_global,
            skipped=options.not_in,
        )
    actions = [
        action
        for inventory in inventories
        for action in plan_teardown(inventory, everything=options.all)
    ]
    kept = [each for inventory in inventories for each in inventory.kept]
    data = _report_plan(context, actions, kept, notes)
    if not actions:
        how = "nothing else" if kept else "nothing"
        lines = [f"{how} carries the tag of deployment {name} in {region}"]
        if options.all and not context.is_dry_run:
            lines += forget_missing(context)
        context.console.print_result(data, lines)
        return 0
    if context.is_dry_run:
        context.console.print_result(data)
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
    context.console.print_result(data | {"destroyed": True}, lines)
    return 0


def _refuse_flags_without_all(options: argparse.Namespace) -> None:
    if not options.all and (options.keep_global or options.not_in):
        raise ConfigError(
            "--keep-global and --not-in require --all",
            hint="chandra-sagemaker destroy, which keeps everything that is global",
        )


def _endpoint_configs(context: Context) -> list[DeployConfig]:
    """Return the configurations of the asynchronous endpoint and of the deployment."""
    try:
        return [async_config(context.config, context.identity), context.config]
    except ConfigError:
        # The name is too long for an asynchronous endpoint.
        return [context.config]


def _report_plan(
    context: Context,
    actions: Sequence[Action],
    kept: Sequence[KeptResource],
    notes: Sequence[str],
) -> dict[str, Any]:
    """Print what would be deleted and kept; return the fields of the result."""
    lines = [f"would {action.sentence}" for action in actions]
    lines += [f"would keep {each.sentence}" for each in kept]
    for line in (*lines, *notes):
        context.console.say(line)
    return {
        "deployment": context.config.name,
        "region": context.identity.region,
        "destroyed": False,
        "actions": [action.to_json() for action in actions],
        "kept": [each.to_json() for each in kept],
    }


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
