"""Groups of schedules, and the entries that start and stop an endpoint."""

from __future__ import annotations

from typing import Any

from deploy.aws.client import AWSClient
from deploy.endpoint.schedule import entry_name
from deploy.errors import NotFoundError
from deploy.resources import OWNER_TAG, tags_from

__all__ = ["has_schedule_group", "schedule_entries", "schedule_group_tags"]


def schedule_entries(aws: AWSClient, deployment: str) -> list[dict[str, Any]]:
    """The entries there are, in a group of ours."""
    if not has_schedule_group(aws, deployment):
        return []
    found = []
    for verb in ("start", "stop"):
        try:
            entry = aws.call(
                "scheduler",
                "get_schedule",
                GroupName=deployment,
                Name=entry_name(deployment, verb),
            )
        except NotFoundError:
            continue
        found.append(entry)
    return found


def has_schedule_group(aws: AWSClient, name: str) -> bool:
    """A group of ours."""
    tags = schedule_group_tags(aws, name)
    return tags is not None and tags.get(OWNER_TAG) == name


def schedule_group_tags(aws: AWSClient, name: str) -> dict[str, str] | None:
    """Of whoever's group has the name; None where there is none."""
    try:
        group = aws.call("scheduler", "get_schedule_group", Name=name)
        answer = aws.call(
            "scheduler", "list_tags_for_resource", ResourceArn=group["Arn"]
        )
    except NotFoundError:
        return None
    return tags_from(answer["Tags"])
