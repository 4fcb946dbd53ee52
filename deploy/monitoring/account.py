"""Alarms and dashboards in an account, and their owners."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from deploy.aws.client import AWSClient
from deploy.errors import NotFoundError
from deploy.resources import OWNER_TAG, tags_from

__all__ = [
    "AlarmState",
    "dashboard_region",
    "existing_alarm_names",
    "has_dashboard",
    "list_alarms",
    "read_dashboard",
]


@dataclass(frozen=True, slots=True)
class AlarmState:
    """State of an alarm of a deployment."""

    name: str
    state: str
    description: str


def list_alarms(aws: AWSClient, deployment: str) -> list[AlarmState]:
    """Return the alarms that have the owner tag of a deployment, sorted by name."""
    alarms = aws.pages(
        "cloudwatch",
        "describe_alarms",
        "MetricAlarms",
        AlarmNamePrefix=f"{deployment}-",
    )
    states = []
    for alarm in alarms:
        answer = aws.call(
            "cloudwatch", "list_tags_for_resource", ResourceARN=alarm["AlarmArn"]
        )
        if tags_from(answer.get("Tags") or ()).get(OWNER_TAG) == deployment:
            states.append(
                AlarmState(
                    alarm["AlarmName"],
                    alarm["StateValue"],
                    alarm.get("AlarmDescription", ""),
                )
            )
    return sorted(states, key=lambda alarm: alarm.name)


def existing_alarm_names(aws: AWSClient, names: Sequence[str]) -> set[str]:
    """Return those of `names` that are names of existing alarms, of any owner."""
    alarms = aws.pages(
        "cloudwatch", "describe_alarms", "MetricAlarms", AlarmNames=list(names)
    )
    return {alarm["AlarmName"] for alarm in alarms}


def has_dashboard(aws: AWSClient, name: str) -> bool:
    """Return True if a dashboard of this name exists and belongs to this deployment.

    Dashboards have no tags, so their first widget names the owner.
    """
    return f"{OWNER_TAG} = {name}" in (read_dashboard(aws, name) or "")


def dashboard_region(aws: AWSClient, name: str) -> str | None:
    """Return the region of the first graph of a dashboard.

    Dashboards are global: every region lists the same ones. Returns None if there is no
    such dashboard, or no region or valid JSON in it.
    """
    try:
        widgets = json.loads(read_dashboard(aws, name) or "{}").get("widgets", ())
    except ValueError:
        return None
    regions = (widget.get("properties", {}).get("region") for widget in widgets)
    return next((str(region) for region in regions if region), None)


def read_dashboard(aws: AWSClient, name: str) -> str | None:
    """Return the body of a dashboard of any owner; None if it does not exist."""
    try:
        response = aws.call("cloudwatch", "get_dashboard", DashboardName=name)
    except NotFoundError:
        return None
    return str(response["DashboardBody"])
