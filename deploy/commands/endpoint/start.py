"""Command `start`: bring back the endpoint that was live last."""

from __future__ import annotations

import argparse

from deploy.commands.command import Command
from deploy.commands.endpoint.steps.absent import absence_notes, schedule_notes
from deploy.commands.endpoint.steps.apply import (
    confirm_recreation,
    describe_actions,
    refuse_if_fatal,
)
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
from deploy.endpoint.planner import Planner
from deploy.endpoint.snapshot import Snapshot
from deploy.errors import NotFoundError
from deploy.resources import tags_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_async_argument(parser)
    add_wait_arguments(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    name = endpoint_of(context, options)
    owner = owner_of(context, options)
    seen = Snapshot(context.account, name, use_alarms=owner.update.use_alarms)
    state, history = seen.read_endpoint(name), seen.history(name)
    if state is not None and state.is_ours and state.status == "InService":
        if options.is_async:
            # `start --async --no-wait` ends before the scaling can be set.
            apply_scaling(context, owner)
        context.console.print_result(
            {"endpoint": name, "config": state.config, "actions": []},
            [f"endpoint {name} is in service with config {state.config} already"],
        )
        return 0
    if not history:
        raise NotFoundError(
            f"there is no config of {name} to start",
            hint=f"chandra-sagemaker {'async ' if options.is_async else ''}deploy",
        )
    config = history[0].config
    planner = Planner(seen, context.identity, context.now)
    actions = planner.serve(name, config, tags_of(owner), owner.update)
    refuse_if_fatal(
        context,
        [
            *absence_notes(context, name, seen),
            *check_earlier_config(context, config, actions),
            *schedule_notes(context, name, actions, seen),
        ],
    )
    if not confirm_recreation(context, name, actions, state):
        context.console.report_declined()
        return 1
    executor = context.executor(
        endpoint=name, timeout_seconds=options.timeout, is_waiting=options.wait
    )
    executor.run(actions)
    if options.is_async and options.wait:
        apply_scaling(context, owner)
    words = "in service" if options.wait else "being created or updated"
    context.console.print_result(
        {
            "endpoint": name,
            "config": config,
            "actions": describe_actions(actions, options),
        },
        [] if context.is_dry_run else _result_lines(name, config, words, options),
    )
    return 0


def _result_lines(
    name: str, config: str, words: str, options: argparse.Namespace
) -> list[str]:
    lines = [f"endpoint {name} is {words} with {config}"]
    if options.is_async and not options.wait:
        lines.append("next: the same command without --no-wait sets its scaling")
    return lines


COMMAND = Command(
    run=run,
    description="Bring back the endpoint that was live last, with the same config.",
    examples=(
        "start",
        "start --timeout 1800",
    ),
    add_arguments=add_arguments,
)
