"""Schedule of an endpoint: two entries of EventBridge Scheduler, as values.

One calls CreateEndpoint in the morning, the other DeleteEndpoint in the evening.
EventBridge Scheduler makes the calls, so that no program has to run for them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from deploy.errors import ConfigError
from deploy.plan.actions import Call
from deploy.resources import tag_list

__all__ = [
    "Schedule",
    "entry_name",
    "last_effect_time",
    "schedule_from",
    "start_request",
    "update_request_of",
    "with_config",
]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CRON = re.compile(r"cron\((\d+) (\d+) \? \* ([A-Z,]+) \*\)")
CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
EXAMPLE = (
    "chandra-sagemaker schedule --start 08:00 --stop 19:00 --days mon-fri --timezone "
    "Europe/Berlin"
)
# Members of an answer of GetSchedule that a request may have.
REQUEST = (
    "GroupName",
    "Name",
    "ScheduleExpression",
    "ScheduleExpressionTimezone",
    "State",
    "FlexibleTimeWindow",
    "Target",
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Times of a day and days of a week, in a time zone."""

    start: tuple[int, int]
    """Hour and minute; so is `stop`."""
    stop: tuple[int, int]
    days: tuple[str, ...]
    timezone: str

    @property
    def hours_a_week(self) -> float:
        """Hours of a week from each start to the stop of the same day."""
        minutes = (self.stop[0] - self.start[0]) * 60 + self.stop[1] - self.start[1]
        return minutes / 60 * len(self.days)

    def calls(
        self,
        name: str,
        config: str,
        *,
        tags: Mapping[str, str],
        role: str,
        partition: str,
        existing: frozenset[str],
    ) -> list[Call]:
        """Return the calls that create the schedule group and create or update entries.

        `existing` are the names of the group and entries that exist. `role` is the ARN
        of the role with which the scheduler calls SageMaker.
        """
        create = json.dumps(
            {
                "EndpointName": name,
                "EndpointConfigName": config,
                "Tags": tag_list(tags),
            }
        )
        delete = json.dumps({"EndpointName": name})
        calls = []
        if name not in existing:
            calls.append(
                Call(
                    "scheduler",
                    "create_schedule_group",
                    {"Name": name, "Tags": tag_list(tags)},
                    f"create schedule group {name}",
                )
            )
        for verb, time, method, text in (
            ("start", self.start, "createEndpoint", create),
            ("stop", self.stop, "deleteEndpoint", delete),
        ):
            entry = entry_name(name, verb)
            operation = "update" if entry in existing else "create"
            calls.append(
                Call(
                    "scheduler",
                    f"{operation}_schedule",
                    {
                        "GroupName": name,
                        "Name": entry,
                        "ScheduleExpression": self._expression(time),
                        "ScheduleExpressionTimezone": self.timezone,
                        "State": "ENABLED",
                        "FlexibleTimeWindow": {"Mode": "OFF"},
                        "Target": {
                            "Arn": f"arn:{partition}:scheduler:::aws-sdk:sagemaker:"
                            f"{method}",
                            "RoleArn": role,
                            "Input": text,
                            "RetryPolicy": {
                                "MaximumEventAgeInSeconds": 3600,
                                "MaximumRetryAttempts": 10,
                            },
                        },
                    },
                    f"{operation} schedule {entry}: {time[0]:02}:{time[1]:02} on "
                    f"{','.join(self.days)}, {self.timezone}",
                )
            )
        return calls

    def _expression(self, time: tuple[int, int]) -> str:
        days = ",".join(day.upper() for day in self.days)
        return f"cron({time[1]} {time[0]} ? * {days} *)"


def entry_name(name: str, verb: str) -> str:
    """Return the name of the entry for `verb`, which is "start" or "stop"."""
    return f"{name}-{verb}"


def last_effect_time(entry: Mapping[str, Any], now: datetime) -> datetime | None:
    """Return when an entry of a schedule last took effect, at or before `now`.

    Returns None if it is disabled, was created after that time, was not written by this
    package, or has a time zone that is not known here. Each deployment changes its
    LastModificationDate, so that is not used.
    """
    match = CRON.fullmatch(str(entry.get("ScheduleExpression", "")))
    if match is None or entry.get("State") == "DISABLED":
        return None
    minute, hour = int(match[1]), int(match[2])
    days = match[3].lower().split(",")
    created = entry.get("CreationDate")
    try:
        zone = ZoneInfo(entry.get("ScheduleExpressionTimezone", "UTC"))
    except (ZoneInfoNotFoundError, ValueError):
        # AWS knows time zones that this machine may not know.
        return None
    here = now.astimezone(zone)
    for age in range(len(DAYS) + 1):
        day = here - timedelta(days=age)
        time = day.replace(hour=hour, minute=minute, second=0, microsecond=0)
        if time <= here and DAYS[time.weekday()] in days:
            return time if created is None or time >= created else None
    return None


def schedule_from(start: str, stop: str, days: str, timezone: str) -> Schedule:
    """Return the schedule in the values of command-line flags.

    Raises ConfigError that names the invalid flag, or if `stop` is not after `start`.
    """
    schedule = Schedule(
        start=_parse_time("--start", start),
        stop=_parse_time("--stop", stop),
        days=_parse_days(days),
        timezone=_check_timezone(timezone),
    )
    if schedule.stop <= schedule.start:
        raise ConfigError(
            f"--stop {stop} is not after --start {start}: an endpoint that runs over "
            "night is started and stopped on different days",
            hint="use two deployments with different names, or keep it running",
        )
    return schedule


def update_request_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an answer of GetSchedule that UpdateSchedule takes."""
    return {key: entry[key] for key in REQUEST if key in entry}


def start_request(
    entries: Iterable[Mapping[str, Any]], deployment: str
) -> dict[str, Any] | None:
    """Return the entry that starts the endpoint, as UpdateSchedule takes it.

    Returns None if it is not among `entries`.
    """
    name = entry_name(deployment, "start")
    return next((update_request_of(e) for e in entries if e["Name"] == name), None)


def with_config(request: Mapping[str, Any], config: str) -> dict[str, Any]:
    """Return a copy of a start entry's request that starts another config."""
    content = json.loads(request["Target"]["Input"])
    content["EndpointConfigName"] = config
    return {**request, "Target": {**request["Target"], "Input": json.dumps(content)}}


def _parse_time(flag: str, text: str) -> tuple[int, int]:
    """Return hour and minute of a time such as 08:00."""
    match = CLOCK.fullmatch(text)
    if match is None:
        raise ConfigError(f"{flag} must look like 08:00, not {text}", hint=EXAMPLE)
    return int(match[1]), int(match[2])


def _parse_days(text: str) -> tuple[str, ...]:
    """Return the days in a list of days and ranges, in the order of the week.

    A range may go over the end of the week, such as sat-mon.
    """
    days: list[str] = []
    for part in text.lower().split(","):
        first, _, last = part.strip().partition("-")
        last = last or first
        if first not in DAYS or last not in DAYS:
            raise ConfigError(
                f"--days must look like mon-fri or mon,wed, not {text}", hint=EXAMPLE
            )
        begin, end = DAYS.index(first), DAYS.index(last)
        if end < begin:
            end += len(DAYS)
        days += [DAYS[number % 7] for number in range(begin, end + 1)]
    return tuple(day for day in DAYS if day in days)


def _check_timezone(text: str) -> str:
    """Return the name of a time zone; raises ConfigError if it is not known."""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(
            f"--timezone must be a name such as Europe/Berlin, not {text}", hint=EXAMPLE
        ) from error
    return text
