"""Command `update`: change settings of the running endpoint."""

from __future__ import annotations

import argparse
from dataclasses import replace

from deploy.commands.command import Command
from deploy.commands.endpoint.steps.absent import explain_absence
from deploy.commands.endpoint.steps.apply import (
    FINISH_LATER,
    check_and_confirm,
    describe_actions,
    verify_endpoint,
)
from deploy.commands.endpoint.steps.changes import change_by_flags
from deploy.commands.endpoint.steps.effective import config_with_running_settings
from deploy.commands.endpoint.steps.next_deploy import next_deploy_lines
from deploy.commands.endpoint.steps.quotas import other_endpoint
from deploy.commands.flags import (
    add_machine_arguments,
    add_wait_arguments,
    blame_flags,
    override_config,
    parse_pairs,
)
from deploy.config import UpdateStrategy, UpdateTable
from deploy.context import Context
from deploy.endpoint.planner import Planner, config_to_change
from deploy.endpoint.running import read_running_endpoint
from deploy.endpoint.snapshot import Snapshot
from deploy.errors import ConfigError, NotFoundError
from deploy.resources import FIXED_VARIABLES, Edits, EndpointState, tags_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_machine_arguments(parser, overrides="the running config")
    parser.add_argument(
        "--env",
        action="append",
        metavar="NAME=VALUE",
        help="set an environment variable of the container; may be repeated. NAME= "
        "sets an empty string",
    )
    parser.add_argument(
        "--unset-env",
        action="append",
        metavar="NAME",
        help="remove an environment variable of the container; may be repeated",
    )
    for flag, meaning in (
        ("startup", "seconds from the start of the container to a healthy /ping"),
        ("download", "seconds for the download of the weights"),
    ):
        parser.add_argument(
            f"--{flag}-timeout",
            type=int,
            metavar="SECONDS",
            help=f"{meaning} (overrides the running config)",
        )
    parser.add_argument(
        "--strategy",
        choices=[strategy.value for strategy in UpdateStrategy],
        help="blue-green keeps the old machines until the new ones serve; recreate "
        "deletes the endpoint first, so its callers get errors for 10 to 20 minutes, "
        "and longer if the new one fails (overrides update.strategy)",
    )
    parser.add_argument(
        "--bake",
        type=int,
        metavar="SECONDS",
        help="seconds for which the old machines are kept (overrides "
        "update.bake_seconds)",
    )
    add_wait_arguments(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    edits, update = _parse_edits(context, options), _update_table(context, options)
    name = context.config.name
    seen = Snapshot(
        context.account,
        name,
        other=other_endpoint(context, name),
        use_alarms=update.use_alarms,
    )
    state, history = seen.read_endpoint(name), seen.history(name)
    is_gone = state is None or state.status == "Deleting"
    absence = explain_absence(context, name, history, seen) if is_gone else None
    is_stopped = absence is not None and not absence.is_lost
    # An interrupted update has already deleted the endpoint; this one continues it.
    is_resumed = update.strategy is UpdateStrategy.RECREATE and bool(history)
    if is_stopped or (state is None and not is_resumed):
        raise NotFoundError(
            f"there is no endpoint {name} to update",
            hint="chandra-sagemaker start, then the same update"
            if history
            else "chandra-sagemaker deploy",
        )
    planner = Planner(seen, context.identity, context.now)
    planner.require_ours(state)
    _refuse_count_of_scaled(state, options, update)
    config = config_to_change(state, history)
    running = read_running_endpoint(context.aws, name, config, state)
    if state is None:
        running = replace(running, tags=tags_of(context.config))
    for variable in edits.removed_variables:
        if variable not in running.model.environment:
            context.console.say(f"note: the container has no variable {variable}")
    target = running.edited(edits)
    actions = planner.deploy(target, update)
    change = change_by_flags(running, target, state)
    data = {
        "endpoint": target.name,
        "config": target.config.name,
        "strategy": update.strategy,
        "actions": describe_actions(actions, options),
        **change.to_json(),
    }
    if not actions:
        context.console.print_result(
            data,
            [
                f"endpoint {name} has these settings already: no changes",
                "update changes what its flags name; deploy applies "
                f"{context.config_path.name}",
            ],
        )
        return 0
    effective = replace(
        config_with_running_settings(context.config, target), update=update
    )
    if not check_and_confirm(context, effective, target, actions, change, seen):
        return 1
    executor = context.executor(
        endpoint=name, timeout_seconds=options.timeout, is_waiting=options.wait
    )
    executor.run(actions)
    if context.is_dry_run:
        context.console.print_result(data)
        return 0
    if options.wait:
        verify_endpoint(context, target)
    lines = [
        f"endpoint {target.name} {'has' if options.wait else 'gets'} config "
        f"{target.config.name}"
    ]
    if not options.wait:
        lines.append(FINISH_LATER)
    context.console.print_result(data, lines + next_deploy_lines(context, target))
    return 0


def _refuse_count_of_scaled(
    state: EndpointState | None, options: argparse.Namespace, update: UpdateTable
) -> None:
    """Raise ConfigError for a number of machines that SageMaker would not set."""
    if (
        state is None
        or not state.is_scaled
        or update.strategy is UpdateStrategy.RECREATE
    ):
        return
    if options.instance_count is not None:
        raise ConfigError(
            "Application Auto Scaling sets the number of machines of endpoint "
            f"{state.name}, so --instance-count changes nothing",
            hint="chandra-sagemaker update without it; the limits of its scaling are "
            "changed where they were set",
        )


def _parse_edits(context: Context, options: argparse.Namespace) -> Edits:
    """Return the edits of the flags; raises ConfigError if a value is not allowed."""
    table = override_config(context.config, options).endpoint
    environment = parse_pairs(options.env or ())
    removed = tuple(options.unset_env or ())
    for name in removed:
        if name in environment:
            raise ConfigError(
                f"--env sets {name} and --unset-env removes it",
                hint="chandra-sagemaker update with one of the two",
            )
        if name in FIXED_VARIABLES:
            raise ConfigError(
                f"every container has {name}, so it cannot be removed",
                hint=f"chandra-sagemaker update --env {name}=VALUE",
            )
    return Edits(
        instance_types=table.instance_types if options.instance_type else None,
        instance_count=options.instance_count,
        image=options.image,
        environment=environment,
        removed_variables=removed,
        startup_timeout_seconds=options.startup_timeout,
        download_timeout_seconds=options.download_timeout,
        provision_timeout_seconds=table.provision_timeout_seconds,
    )


def _update_table(context: Context, options: argparse.Namespace) -> UpdateTable:
    """Return the table `update` with --strategy and --bake."""
    update = context.config.update
    if options.strategy is not None:
        update = replace(update, strategy=UpdateStrategy(options.strategy))
    if options.bake is not None:
        with blame_flags(options):
            update = replace(update, bake_seconds=options.bake)
    return update


COMMAND = Command(
    run=run,
    description="Change settings of the running endpoint, while the old machines serve "
    "or after they are deleted. An update changes the running config, not "
    "chandra.toml, so changes of earlier updates and rollbacks stay.",
    examples=(
        "update --instance-count 2",
        "update --env CHANDRA_LOG_LEVEL=DEBUG --dry-run",
    ),
    add_arguments=add_arguments,
)
