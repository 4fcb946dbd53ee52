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
from deploy.retries import DEFAULT_BACKOFF, Poll

FOLLOW_SECONDS = 5.0
# CloudWatch keeps metrics, the longest of its data, for 455 days.
LONGEST_AGE = timedelta(days=455)
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
        since=context.now - parse_age(options.since),
    )
    shown: list[LogEvent] = []
    status = 0
    try:
        if options.follow:
            _follow(context, options, reader, shown)
        else:
            _show_new_lines(context, options, reader, shown)
    except KeyboardInterrupt:
        # Ctrl-C is the way to end `--follow`: the lines read so far are the result.
        status = INTERRUPTED
    lines = [] if shown else [f"no lines in the last {options.since}"]
    context.console.print_result(
        {
            "lines": [
                {"time": event.when, "stream": event.stream, "message": event.message}
                for event in shown
            ]
        },
        lines,
    )
    return status


def _follow(
    context: Context,
    options: argparse.Namespace,
    reader: LogReader,
    shown: list[LogEvent],
) -> None:
    """Show new lines until Ctrl-C, also after transient errors of CloudWatch."""
    poll = Poll(
        FOLLOW_SECONDS,
        None,
        DEFAULT_BACKOFF,
        clock=context.clock,
        sleep=context.sleep,
        say=context.console.warn,
    )
    for attempt in poll:
        with attempt:
            _show_new_lines(context, options, reader, shown)


def _show_new_lines(
    context: Context,
    options: argparse.Namespace,
    reader: LogReader,
    shown: list[LogEvent],
) -> None:
    """Append new lines that match the flags to `shown`; print them without --json."""
    for event in reader.read():
        if not _matches(event, options):
            continue
        shown.append(event)
        if not context.console.as_json:
            context.console.say(_format_line(event))


def parse_age(text: str) -> timedelta:
    """Return the duration that a text such as 30s, 15m, 2h or 1d stands for.

    Raises ConfigError if the text has another form, or is 0 or above 455 days.
    """
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None:
        raise ConfigError(
            f"an age looks like 30s, 15m, 2h or 1d, not {text}", hint="--since 2h"
        )
    try:
        span = timedelta(**{UNITS[match[2]]: int(match[1])})
    except OverflowError:
        span = LONGEST_AGE + timedelta(days=1)
    if not timedelta(0) < span <= LONGEST_AGE:
        raise ConfigError(
            f"an age is above 0 and at most {LONGEST_AGE.days}d, not {text}",
            hint="--since 2h",
        )
    return span


def _matches(event: LogEvent, options: argparse.Namespace) -> bool:
    if options.errors and not event.is_error:
        return False
    return options.search is None or options.search.lower() in event.message.lower()


def _format_line(event: LogEvent) -> str:
    # Lines have a date because logs are followed over midnight and kept in files.
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
