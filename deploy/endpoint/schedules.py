"""Schedule groups in an account, and their tags."""

from __future__ import annotations

from deploy.aws.client import AWSClient
from deploy.errors import NotFoundError
from deploy.resources import OWNER_TAG, tags_from

__all__ = ["has_schedule_group", "schedule_group_tags"]


def has_schedule_group(aws: AWSClient, name: str) -> bool:
    """Return True if a schedule group has this name and the owner tag with it."""
    tags = schedule_group_tags(aws, name)
    return tags is not None and tags.get(OWNER_TAG) == name


def schedule_group_tags(aws: AWSClient, name: str) -> dict[str, str] | None:
    """Return the tags of the group with this name; None if there is no such group."""
    try:
        group = aws.call("scheduler", "get_schedule_group", Name=name)
        answer = aws.call(
            "scheduler", "list_tags_for_resource", ResourceArn=group["Arn"]
        )
    except NotFoundError:
        return None
    return tags_from(answer["Tags"])
