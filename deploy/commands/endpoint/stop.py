"""Command `stop`: delete the endpoint, which is what costs money."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from deploy.commands.command import Command
from deploy.commands.endpoint.status import running_cost
from deploy.commands.endpoint.steps.absent import explain_absence
from deploy.commands.endpoint.steps.apply import (
    describe_actions,
)
from deploy.commands.endpoint.steps.queue_status import (
    find_async_endpoint,
    read_machine_price,
)
from deploy.commands.flags import (
    add_wait_arguments,
)
from deploy.commands.which_endpoint import add_async_argument, endpoint_of
from deploy.context import Context
from deploy.endpoint.planner import Planner
from deploy.endpoint.snapshot import Snapshot
from deploy.errors import AccessDeniedError, NotFoundError
from deploy.machines.catalogue import HOURS_A_DAY, PRICE_NOTE
from deploy.machines.prices import dollars, price_text
from deploy.plan.actions import Action, Call
from deploy.queue.scaling import build_unscale_call
from deploy.resources import EndpointState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_async_argument(parser)
    add_wait_arguments(parser, until="the endpoint is gone")


def run(context: Context, options: argparse.Namespace) -> int:
    name = endpoint_of(context, options)
    seen = Snapshot(context.account, name)
    state = seen.read_endpoint(name)
    planner = Planner(seen, context.identity, context.now)
    actions: Sequence[Action] = planner.stop(name)
    flag = " --async" if options.is_async else ""
    other = [] if options.is_async else _async_endpoint_notes(context)
    if state is None:
        return _report_absent(context, name, other, seen)
    question = "its callers get errors until it is started again"
    if options.is_async:
        actions = [*_unscaling_actions(context, state), *actions]
        question = "documents that wait in its queue, or are being read, are not read"
    saved, words = _describe_savings(context, state, options, seen)
    # Read before the endpoint is deleted. Without the right to read schedules, the
    # endpoint is stopped all the same.
    scheduled = [] if options.is_async else _schedule_notes(seen, name)
    if not context.is_dry_run and not context.console.confirm(
        f"delete endpoint {name}? {question}"
    ):
        context.console.report_declined()
        return 1
    executor = context.executor(
        endpoint=name, timeout_seconds=options.timeout, is_waiting=options.wait
    )
    executor.run(actions)
    lines = []
    if not context.is_dry_run:
        state_now = "is stopped" if options.wait else "is being deleted"
        lines.append(
            f"endpoint {name} {state_now}; chandra-sagemaker start{flag} brings it back"
        )
    lines += scheduled
    context.console.print_result(
        {
            "endpoint": name,
            "stopped": options.wait and not context.is_dry_run,
            "actions": describe_actions(actions, options),
            **saved,
        },
        [*lines, *words, *other],
    )
    return 0


def _report_absent(
    context: Context, name: str, other: Sequence[str], seen: Snapshot
) -> int:
    """Report that there is no endpoint to stop; return exit status 0.

    An endpoint that is missing without a known stop is marked as stopped. `other` are
    notes on the asynchronous endpoint, which stays and costs money.
    """
    absence = explain_absence(context, name, seen.history(name), seen)
    is_lost = absence is not None and absence.is_lost
    if is_lost:
        executor = context.executor(endpoint=name)
        executor.run(context.planner.mark_stopped(name))
    lines = [f"endpoint {name} is not running"]
    if name == context.config.name and not other:
        lines = [f"{lines[0]}: nothing costs money"]
    if absence is not None and is_lost:
        lines = [absence.sentence]
        if not context.is_dry_run:
            lines.append("it counts as stopped from now on")
    context.console.print_result({"endpoint": name, "stopped": False}, [*lines, *other])
    return 0


def _schedule_notes(seen: Snapshot, name: str) -> list[str]:
    """Return a note if a schedule starts the endpoint again, or cannot be read."""
    try:
        start = seen.read_scheduled_start(name)
    except AccessDeniedError as error:
        return [
            "note: whether a schedule starts it again could not be read: "
            f"{error.message}"
        ]
    if start is None:
        return []
    return [
        f"note: the schedule starts it again, {start['ScheduleExpression']}; "
        "chandra-sagemaker schedule --remove keeps it stopped"
    ]


def _describe_savings(
    context: Context,
    state: EndpointState,
    options: argparse.Namespace,
    seen: Snapshot,
) -> tuple[dict[str, float | None], list[str]]:
    """Return what stopping saves and the cost so far, as JSON fields and as lines.

    The cost so far of the asynchronous endpoint is not known: its machines are scaled.
    """
    if options.is_async:
        _, now = read_machine_price(context, state)
        words = (
            []
            if now is None
            else [f"its machines cost {price_text(now)} an hour by now"]
        )
        return {"saved_an_hour": now}, words
    try:
        config = seen.describe_config(state.config)
    except NotFoundError:
        config = {}
    cost = running_cost(context, state, config)
    if cost is None:
        return {"saved_an_hour": None, "cost_so_far": None}, []
    return {"saved_an_hour": cost.hourly, "cost_so_far": cost.so_far}, [
        f"it cost about {dollars(cost.so_far)} since it was made; stopping saves "
        f"{price_text(cost.hourly)} an hour, "
        f"{dollars(cost.hourly * HOURS_A_DAY)} a day ({PRICE_NOTE})"
    ]


def _unscaling_actions(context: Context, state: EndpointState) -> list[Action]:
    """Return actions that remove scaling and its alarms, which would fail later."""
    actions: list[Action] = [build_unscale_call(state.name)] if state.is_scaled else []
    alarms = sorted(context.account.read_scaling(state.name).alarms)
    if alarms:
        actions.append(
            Call(
                "cloudwatch",
                "delete_alarms",
                {"AlarmNames": alarms},
                f"delete alarms {', '.join(alarms)}",
            )
        )
    return actions


def _async_endpoint_notes(context: Context) -> list[str]:
    """Return a line on the asynchronous endpoint, if it stays and costs money."""
    state = find_async_endpoint(context)
    if state is None or not state.instance_count:
        return []
    try:
        _, price = read_machine_price(context, state)
    except NotFoundError:
        price = None
    cost = "" if price is None else f", {price_text(price)} an hour"
    return [
        f"note: endpoint {state.name} has {state.instance_count} machines{cost}, and "
        "continues to read its queue"
    ]


COMMAND = Command(
    run=run,
    description="Delete the endpoint, so that it costs nothing. `start` brings it "
    "back.",
    examples=(
        "stop",
        "stop --async --no-wait",
    ),
    add_arguments=add_arguments,
)
