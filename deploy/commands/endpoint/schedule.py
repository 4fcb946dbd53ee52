"""Command `schedule`: start and stop the endpoint at set times."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from deploy.commands.command import Command
from deploy.console import table
from deploy.context import Context
from deploy.endpoint.schedule import Schedule, schedule_from
from deploy.endpoint.schedules import (
    has_schedule_group,
    schedule_group_tags,
)
from deploy.errors import ConfigError, ConflictError, NotFoundError
from deploy.machines.catalogue import PRICE_NOTE
from deploy.machines.prices import dollars, hourly_price
from deploy.plan.actions import Call
from deploy.policies.roles import find_role, read_role_policies, refuse_other_regions
from deploy.resources import OWNER_TAG, tags_of

HOURS_A_WEEK = 168
NO_SCHEDULE = "there is no schedule: the endpoint runs until you stop it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--start", metavar="HH:MM", help="time to start the endpoint")
    parser.add_argument("--stop", metavar="HH:MM", help="time to stop the endpoint")
    parser.add_argument(
        "--days", help="days of the week, such as mon,wed,sat (default mon-fri)"
    )
    parser.add_argument(
        "--timezone", help="time zone, such as Europe/Berlin (default UTC)"
    )
    parser.add_argument("--remove", action="store_true", help="remove the schedule")


def run(context: Context, options: argparse.Namespace) -> int:
    flags = [
        f"--{flag}"
        for flag in ("start", "stop", "days", "timezone")
        if getattr(options, flag) is not None
    ]
    if options.remove:
        if flags:
            raise ConfigError(
                f"--remove cannot be combined with {' and '.join(flags)}",
                hint="chandra-sagemaker schedule --remove",
            )
        return _remove(context)
    if not flags:
        return _show(context)
    schedule = _parse_schedule(options, flags)
    name, identity = context.config.name, context.identity
    role = f"{name}-scheduler"
    if find_role(context.aws, role) is None:
        raise NotFoundError(
            f"role {role}, which EventBridge needs, does not exist",
            hint="chandra-sagemaker iam --create",
        )
    refuse_other_regions(
        role, read_role_policies(context.aws, role), context.aws.region
    )
    _refuse_foreign_group(context)
    history = context.account.history(name)
    state = context.account.read_endpoint(name)
    if not history:
        raise NotFoundError(
            f"endpoint {name} has no config that a schedule could start",
            hint="chandra-sagemaker deploy",
        )
    calls = schedule.calls(
        name,
        state.config if state is not None else history[0].config,
        tags=tags_of(context.config),
        role=identity.role_arn(role),
        partition=identity.partition,
        existing=frozenset(
            [
                *(entry["Name"] for entry in context.account.schedule_entries(name)),
                *([name] if has_schedule_group(context.aws, name) else []),
            ]
        ),
    )
    context.executor().run(calls)
    context.console.print_result(
        {"actions": [call.to_json() for call in calls]},
        _saving_lines(context, schedule),
    )
    return 0


def _parse_schedule(options: argparse.Namespace, flags: Sequence[str]) -> Schedule:
    """Return the schedule of the flags, of which at least one was given.

    Raises ConfigError without --start and --stop, or for an invalid value.
    """
    if options.start is None or options.stop is None:
        raise ConfigError(
            "--start and --stop go together"
            + (f", and {flags[0]} with both" if "--st" not in flags[0] else ""),
            hint="chandra-sagemaker schedule --start 08:00 --stop 19:00",
        )
    return schedule_from(
        options.start,
        options.stop,
        options.days or "mon-fri",
        options.timezone or "UTC",
    )


def _saving_lines(context: Context, schedule: Schedule) -> list[str]:
    machines = context.config.endpoint
    price = hourly_price(machines.instance_types[0], machines.instance_count)
    hours = schedule.hours_a_week
    lines = [f"the endpoint runs {hours:g} of {HOURS_A_WEEK} hours a week"]
    if price is not None:
        lines.append(
            f"about {dollars(price * hours)} a week, not "
            f"{dollars(price * HOURS_A_WEEK)}: {1 - hours / HOURS_A_WEEK:.0%} less"
        )
        lines.append(f"({PRICE_NOTE})")
    return lines


def _show(context: Context) -> int:
    """Print the entries of the schedule; return exit status 0."""
    entries: list[dict[str, Any]] = context.account.schedule_entries(
        context.config.name
    )
    rows = [
        (
            str(entry["Name"]),
            str(entry["ScheduleExpression"]),
            str(entry.get("ScheduleExpressionTimezone", "UTC")),
            str(entry["State"]),
        )
        for entry in entries
    ]
    context.console.print_result(
        {
            "schedules": [
                {"name": n, "expression": e, "timezone": z, "state": s}
                for n, e, z, s in rows
            ]
        },
        table([("ENTRY", "WHEN", "TIMEZONE", "STATE"), *rows])
        if rows
        else [NO_SCHEDULE],
    )
    return 0


def _refuse_foreign_group(context: Context) -> None:
    """Raise ConflictError if the schedule group belongs to something else."""
    name = context.config.name
    tags = schedule_group_tags(context.aws, name)
    if tags is not None and tags.get(OWNER_TAG) != name:
        raise ConflictError(
            f"there is a schedule group {name} already, and it is not this "
            "deployment's",
            hint="set another name in chandra.toml",
        )


def _remove(context: Context) -> int:
    """Delete all entries of the schedule; return exit status 0."""
    name = context.config.name
    _refuse_foreign_group(context)
    entries = [str(entry["Name"]) for entry in context.account.schedule_entries(name)]
    calls = [
        Call(
            "scheduler",
            "delete_schedule",
            {"GroupName": name, "Name": entry},
            f"delete schedule {entry}",
            may_be_missing=True,
        )
        for entry in entries
    ]
    context.executor().run(calls)
    lines = [] if calls and context.is_dry_run else [NO_SCHEDULE]
    context.console.print_result({"actions": [call.to_json() for call in calls]}, lines)
    return 0


COMMAND = Command(
    run=run,
    description="Start and stop the endpoint at set times, with EventBridge Scheduler. "
    "Without flags, show the schedule.",
    examples=(
        "schedule --start 08:00 --stop 19:00 --timezone Europe/Berlin",
        "schedule --remove",
    ),
    add_arguments=add_arguments,
)
