"""Alarms on errors, latency and disk, which also roll back a bad update."""

from __future__ import annotations

import argparse

from deploy.aws.monitoring import alarm_names, alarms_of
from deploy.commands.context import Context
from deploy.console import table
from deploy.errors import ConfigError, ConflictError
from deploy.monitoring import ALARMS
from deploy.resources import tags_of

NAME = "alarms"
HELP = "show the alarms, or make them; a bad update is rolled back on them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--create", action="store_true", help="make or change them")
    parser.add_argument(
        "--notify",
        action="append",
        metavar="TOPIC_ARN",
        help="an SNS topic that is told; again for another",
    )


def run(context: Context, options: argparse.Namespace) -> int:
    name = context.config.name
    if options.notify and not options.create:
        raise ConfigError(
            "--notify goes with --create",
            hint="chandra-sagemaker alarms --create --notify TOPIC_ARN",
        )
    if options.create:
        names = [alarm.name(name) for alarm in ALARMS]
        ours = {alarm.name for alarm in alarms_of(context.aws, name)}
        if theirs := alarm_names(context.aws, names) - ours:
            raise ConflictError(
                f"there are alarms {', '.join(sorted(theirs))} already, and they are "
                "not this deployment's",
                hint="set another name in chandra.toml, or rename those alarms",
            )
        calls = [
            alarm.call(name, tags=tags_of(context.config), notify=options.notify or ())
            for alarm in ALARMS
        ]
        context.run(calls)
        if context.is_dry_run:
            context.console.result({"actions": [call.to_json() for call in calls]})
            return 0
    found = alarms_of(context.aws, name)
    rows = [(a.name, a.state, a.description) for a in found]
    if rows:
        lines = table([("ALARM", "STATE", "GOES OFF WHEN"), *rows])
    else:
        lines = ["there are no alarms", "next: chandra-sagemaker alarms --create"]
    context.console.result(
        [{"name": n, "state": s, "meaning": d} for n, s, d in rows], lines
    )
    return 0
