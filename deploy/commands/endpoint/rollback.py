"""Command `rollback`: go back to a config that was live before."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from deploy.commands.command import Command
from deploy.commands.endpoint.steps.absent import explain_absence, schedule_notes
from deploy.commands.endpoint.steps.apply import (
    confirm_recreation,
    describe_actions,
    refuse_if_fatal,
)
from deploy.commands.endpoint.steps.next_deploy import next_deploy_lines
from deploy.commands.endpoint.steps.preflight import check_earlier_config
from deploy.commands.flags import (
    add_wait_arguments,
)
from deploy.commands.which_endpoint import (
    add_async_argument,
    apply_scaling,
    endpoint_of,
    owner_of,
)
from deploy.context import Context
from deploy.endpoint.planner import Planner, previous_config
from deploy.endpoint.running import read_running_endpoint
from deploy.endpoint.snapshot import Snapshot
from deploy.errors import NotFoundError, ResourceFailedError
from deploy.resources import DatedConfig, stopped_config, tags_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to",
        metavar="CONFIG",
        help="config to go back to, as `list` shows it (default: the one before)",
    )
    add_async_argument(parser)
    add_wait_arguments(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    name = endpoint_of(context, options)
    owner = owner_of(context, options)
    seen = Snapshot(context.account, name, use_alarms=owner.update.use_alarms)
    state, history = seen.read_endpoint(name), seen.history(name)
    is_there = state is not None and state.status != "Deleting"
    served_config = _last_config(history)
    if state is not None:
        # The config before the one that an update brings is the one that serves still.
        served_config = state.pending_config or state.config
    if options.to is None:
        config = _select_previous(history, served_config, options, is_there=is_there)
    elif options.to in {live.config for live in history}:
        config = options.to
    else:
        raise NotFoundError(
            f"{options.to} is not a config of {name}", hint="chandra-sagemaker list"
        )
    planner = Planner(seen, context.identity, context.now)
    actions = planner.serve(name, config, tags_of(owner), owner.update)
    data = {
        "endpoint": name,
        "config": config,
        "actions": describe_actions(actions, options),
    }
    refuse_if_fatal(
        context,
        [
            *check_earlier_config(context, config, actions),
            *schedule_notes(context, name, actions, seen),
        ],
    )
    if not (
        confirm_recreation(context, name, actions, state)
        and (is_there or _confirm_start(context, name, config, history))
    ):
        context.console.report_declined()
        return 1
    executor = context.executor(
        endpoint=name, timeout_seconds=options.timeout, is_waiting=options.wait
    )
    executor.run(actions)
    if context.is_dry_run:
        context.console.print_result(data)
        return 0
    now = context.account.read_endpoint(name)
    if options.wait and (now is None or now.config != config):
        raise ResourceFailedError(
            f"endpoint {name} does not serve config {config}",
            hint="chandra-sagemaker status",
        )
    if options.is_async and options.wait:
        # An endpoint that was created again has no scaling yet.
        apply_scaling(context, owner)
    context.console.print_result(
        data,
        [
            f"endpoint {name} {'serves' if options.wait else 'goes back to'} {config}",
            "the next update begins with this config",
            *_next_deploy_lines(context, name, config),
        ],
    )
    return 0


def _last_config(history: Sequence[DatedConfig]) -> str | None:
    """Return the last config of an endpoint that was deleted, if known."""
    stopped = stopped_config(history)
    if stopped is not None:
        return stopped.config
    return next((live.config for live in history if live.since), None)


def _select_previous(
    history: Sequence[DatedConfig],
    served_config: str | None,
    options: argparse.Namespace,
    *,
    is_there: bool,
) -> str:
    """Return the config before `served_config`.

    If there is none, the hint of the NotFoundError names `start`.
    """
    try:
        return previous_config(history, served_config)
    except NotFoundError as error:
        if is_there or not history:
            raise
        flag = " --async" if options.is_async else ""
        raise NotFoundError(
            error.message,
            hint=f"chandra-sagemaker start{flag} brings back the config it had last",
        ) from error


def _confirm_start(
    context: Context, name: str, config: str, history: Sequence[DatedConfig]
) -> bool:
    """Print why the endpoint does not run, and ask whether to start it at a price."""
    absence = explain_absence(context, name, history)
    if absence is None:
        return True
    context.console.say(f"note: {absence.sentence}")
    if context.is_dry_run:
        return True
    other = "" if config == absence.config else f", in place of {absence.config}"
    return context.console.confirm(
        f"start endpoint {name} with config {config}{other}? it costs money from then "
        "on"
    )


def _next_deploy_lines(context: Context, name: str, config: str) -> list[str]:
    """Return the settings that the next deploy would revert."""
    try:
        running = read_running_endpoint(
            context.aws, name, config, None, with_tags=False
        )
    except NotFoundError:
        return []
    return next_deploy_lines(context, running)


COMMAND = Command(
    run=run,
    description="Go back to an endpoint config that was live before.",
    examples=(
        "rollback --dry-run",
        "rollback --to chandra-20261130-120000-0123ab",
    ),
    add_arguments=add_arguments,
)
