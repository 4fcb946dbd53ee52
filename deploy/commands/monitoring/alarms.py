"""Command `alarms`: CloudWatch alarms, which also roll back a bad update."""

from __future__ import annotations

import argparse

from deploy.commands.command import Command
from deploy.commands.which_endpoint import add_async_argument, endpoint_of, owner_of
from deploy.console import table
from deploy.context import Context
from deploy.errors import ConfigError, ConflictError
from deploy.monitoring import ALARMS, queue_alarms
from deploy.monitoring.account import existing_alarm_names, list_alarms
from deploy.resources import tags_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--create", action="store_true", help="create or change the alarms"
    )
    parser.add_argument(
        "--notify",
        action="append",
        metavar="TOPIC_ARN",
        help="SNS topic to notify; may be repeated",
    )
    add_async_argument(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    name = endpoint_of(context, options)
    flag = " --async" if options.is_async else ""
    if options.notify and not options.create:
        raise ConfigError(
            "--notify requires --create",
            hint=f"chandra-sagemaker alarms{flag} --create --notify TOPIC_ARN",
        )
    if options.create:
        alarms = ALARMS
        if options.is_async:
            alarms = queue_alarms(context.config.asynchronous.wait_seconds)
        names = [alarm.name(name) for alarm in alarms]
        own_names = {alarm.name for alarm in list_alarms(context.aws, name)}
        if foreign_names := existing_alarm_names(context.aws, names) - own_names:
            raise ConflictError(
                f"there are alarms {', '.join(sorted(foreign_names))} already, and "
                "they are not this deployment's",
                hint="set another name in chandra.toml, or rename those alarms",
            )
        tags = tags_of(owner_of(context, options))
        calls = [
            alarm.call(name, tags=tags, notify=options.notify or ()) for alarm in alarms
        ]
        context.executor().run(calls)
        if context.is_dry_run:
            context.console.print_result(
                {"actions": [call.to_json() for call in calls]}
            )
            return 0
    existing = list_alarms(context.aws, name)
    rows = [(a.name, a.state, a.description) for a in existing]
    if rows:
        lines = table([("ALARM", "STATE", "GOES OFF WHEN"), *rows])
    else:
        lines = [
            "there are no alarms",
            f"next: chandra-sagemaker alarms{flag} --create",
        ]
    context.console.print_result(
        {
            "endpoint": name,
            "alarms": [{"name": n, "state": s, "meaning": d} for n, s, d in rows],
        },
        lines,
    )
    return 0


COMMAND = Command(
    run=run,
    description="Show or create alarms on errors, latency and disk, which also roll "
    "back a bad update. Those of the asynchronous endpoint are on failures, on how "
    "long documents wait, and on a queue without a machine.",
    examples=(
        "alarms --create --notify arn:aws:sns:us-east-1:123456789012:oncall",
        "alarms --async",
    ),
    add_arguments=add_arguments,
)
