"""List the settings that the next `deploy` will change."""

from __future__ import annotations

from deploy.context import Context
from deploy.errors import ConfigError
from deploy.queue.endpoint import async_name, build_async_endpoint
from deploy.resources import Target, differences_between, endpoint_from

__all__ = ["next_deploy_lines"]


def next_deploy_lines(context: Context, running: Target) -> list[str]:
    """Return lines on the settings of `running` that the next deploy would revert.

    There is one line if it would revert none, or would be rejected.
    """
    file = context.config_path.name
    is_async = running.name == async_name(context.config)
    command = "async deploy" if is_async else "deploy"
    described = build_async_endpoint if is_async else endpoint_from
    try:
        target: Target = described(context.config, context.identity)
    except ConfigError as error:
        return [f"the next {command} will stop: {error.message}"]
    differences = differences_between(running.settings, target.settings)
    if not differences:
        return [f"{file} has the same settings: the next {command} changes nothing"]
    return [
        f"{file} has other settings: copy these into it, or the next {command} "
        "reverts them:",
        *(f"  {each.sentence}" for each in differences),
    ]
