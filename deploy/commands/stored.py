"""Weights and image, looked at where they lie before a machine starts with them."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.actions import Action, Call
from deploy.aws.inspection import image_findings, weights_findings
from deploy.checks import Finding, region_findings
from deploy.commands.context import Context
from deploy.config import DeployConfig

__all__ = ["has_call", "image_checks", "weights_checks"]

STARTS = ("create_model", "create_endpoint", "update_endpoint")


def weights_checks(
    context: Context, config: DeployConfig, actions: Sequence[Action]
) -> list[Finding]:
    """What lies in the bucket."""
    return weights_findings(context.aws, config) if _starts(actions) else []


def image_checks(
    context: Context, config: DeployConfig, actions: Sequence[Action]
) -> list[Finding]:
    """What lies in the registry; nothing of an image that was never pushed."""
    # Of another region: that is said of the configuration alone.
    if not _starts(actions) or region_findings(config):
        return []
    return image_findings(context.aws, config)


def has_call(actions: Sequence[Action], operation: str) -> bool:
    return any(isinstance(a, Call) and a.operation == operation for a in actions)


def _starts(actions: Sequence[Action]) -> bool:
    """A deployment that is there already needs neither."""
    return any(has_call(actions, operation) for operation in STARTS)
