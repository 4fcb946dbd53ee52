"""Command `logs`: log lines of the containers over all streams, in order."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta

from deploy.commands.command import Command
from deploy.commands.which_endpoint import add_async_argument, endpoint_of
from deploy.context import Context
from deploy.errors import INTERRUPTED, ConfigError
from deploy.monitoring.logs import LogEvent, LogReader
from deploy.resources import log_group

FOLLOW_SECONDS = 5.0
# As long as CloudWatch keeps anything.
LONGEST = timedelta(days=455)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f", "--follow", action="store_true", help="show new lines until Ctrl-C"
    )
    parser.add_argument(
        "--errors", action="store_true", help="show only lines with an error"
    )
    parser.add_argument(
        "--search", metavar="TEXT", help="show only lines that contain TEXT"
    )
    add_async_argument(parser)
    parser.add_argument(
        "--since",
        default="1h",
        metavar="AGE",
        help="age of the oldest line, such as 30s, 15m, 2h or 1d (default 1h)",
    )


def run(context: Context, options: argparse.Namespace) -> int:
    reader = LogReader(
        context.aws,
        log_group(endpoint_of(context, options)),
        since=context.now - age(options.since),
    )
    found: list[LogEvent] = []
    status = 0
    try:
        _read(context, options, reader, found)
    except KeyboardInterrupt:
        # The way to end `-f`; what was read is still the answer.
        status = INTERRUPTED
    lines = [] if found else [f"no lines in the last {options.since}"]
    context.console.result(
        {
            "lines": [
                {"time": event.when, "stream": event.stream, "message": event.message}
                for event in found
            ]
        },
        lines,
    )
    return status


def _read(
    context: Context,
    options: argparse.Namespace,
    reader: LogReader,
    found: list[LogEvent],
) -> None:
    while True:
        for event in reader.read():
            if not _is_wanted(event, options):
                continue
            found.append(event)
            if not context.console.as_json:
                context.console.say(_line(event))
        if not options.follow:
            return
        context.sleep(FOLLOW_SECONDS)


def age(text: str) -> timedelta:
    """Return the duration that a text such as 30s, 15m, 2h or 1d stands for."""
    found = re.fullmatch(r"(\d+)([smhd])", text)
    if found is None:
        raise ConfigError(
            f"an age looks like 30s, 15m, 2h or 1d, not {text}", hint="--since 2h"
        )
    try:
        span = timedelta(**{UNITS[found[2]]: int(found[1])})
    except OverflowError:
        span = LONGEST + timedelta(days=1)
    if not timedelta(0) < span <= LONGEST:
        raise ConfigError(
            f"an age is above 0 and at most {LONGEST.days}d, not {text}",
            hint="--since 2h",
        )
    return span


def _is_wanted(event: LogEvent, options: argparse.Namespace) -> bool:
    if options.errors and not event.is_error:
        return False
    return options.search is None or options.search.lower() in event.message.lower()


def _line(event: LogEvent) -> str:
    # The date too: a log is followed over midnight, and kept in files.
    when = f"{event.when:%Y-%m-%dT%H:%M:%SZ}"
    return f"{when} {event.stream.rpartition('/')[2]} {event.message}"


COMMAND = Command(
    run=run,
    description="Show what the containers logged, over all log streams, in order of "
    "time.",
    examples=(
        "logs --since 15m --errors",
        "logs --follow --async",
    ),
    add_arguments=add_arguments,
)
