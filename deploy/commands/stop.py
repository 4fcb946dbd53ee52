"""Delete the endpoint, which is what costs money. `start` brings it back."""

from __future__ import annotations

import argparse

from deploy.commands.context import Context
from deploy.commands.status import running_cost
from deploy.commands.wanted import add_wait_arguments, listed
from deploy.machines.catalogue import HOURS_A_DAY, PRICE_NOTE
from deploy.machines.prices import dollars, rate

NAME = "stop"
HELP = "delete the endpoint and say what that saves; start brings it back"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_wait_arguments(parser, until="the endpoint is gone")


def run(context: Context, options: argparse.Namespace) -> int:
    name = context.config.name
    state = context.account.endpoint(name)
    actions = context.planner.stop(name)
    if state is None:
        context.console.result(
            {"endpoint": name, "stopped": False},
            [f"endpoint {name} is not running: nothing costs money"],
        )
        return 0
    cost = running_cost(context, state)
    if not context.is_dry_run and not context.console.confirm(
        f"delete endpoint {name}? its callers get errors until it is started again"
    ):
        context.console.declined()
        return 1
    context.run(actions, timeout_seconds=options.timeout, is_waiting=options.wait)
    lines = []
    if not context.is_dry_run:
        state_now = "is stopped" if options.wait else "is being deleted"
        lines.append(
            f"endpoint {name} {state_now}; chandra-sagemaker start brings it back"
        )
    start = context.account.scheduled_start(name)
    if start is not None:
        lines.append(
            f"note: the schedule starts it again, {start['ScheduleExpression']}; "
            "chandra-sagemaker schedule --remove keeps it stopped"
        )
    if cost is not None:
        lines.append(
            f"it cost about {dollars(cost.so_far)} since it was made; stopping saves "
            f"{rate(cost.hourly)} an hour, {dollars(cost.hourly * HOURS_A_DAY)} "
            f"a day ({PRICE_NOTE})"
        )
    context.console.result(
        {
            "endpoint": name,
            "stopped": options.wait and not context.is_dry_run,
            "actions": listed(actions, options),
            "saved_an_hour": cost.hourly if cost else None,
            "cost_so_far": cost.so_far if cost else None,
        },
        lines,
    )
    return 0
