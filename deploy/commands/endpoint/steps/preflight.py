"""Checks of weights, image and role in the account before a machine starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deploy.checks import Finding
from deploy.context import Context
from deploy.endpoint.inspection import image_findings
from deploy.errors import NotFoundError
from deploy.plan.actions import Action, Call
from deploy.resources import image_address, main_variant

__all__ = [
    "check_earlier_config",
    "has_call",
    "starts_machine",
]

OTHER_IMAGE_HINT = (
    "chandra-sagemaker list shows the configs that rollback --to can go back to; or "
    "image push, then deploy"
)
STARTS = ("create_model", "create_endpoint", "update_endpoint")


def check_earlier_config(
    context: Context, name: str, actions: Sequence[Action]
) -> list[Finding]:
    """Return findings on the image of an earlier config, which may be deleted by now.

    Return none if no machine starts, or if the config does not exist.
    """
    if not starts_machine(actions):
        return []
    try:
        variant = main_variant(context.account.describe_config(name))
        model = context.account.describe_model(variant["ModelName"])
    except NotFoundError:
        # The next call that names them reports this.
        return []
    uri = model["PrimaryContainer"]["Image"]
    if image_address(uri) is None:
        return []
    config = context.config
    # The CUDA version in chandra.toml belongs to another image, so it is dropped.
    earlier = replace(config, image=replace(config.image, uri=uri, cuda=None))
    ami = variant.get("InferenceAmiVersion")
    return [
        replace(finding, hint=OTHER_IMAGE_HINT) if finding.is_fatal else finding
        for finding in image_findings(context.aws, earlier, ami=ami)
    ]


def has_call(actions: Sequence[Action], operation: str) -> bool:
    """Return True if the actions contain a call of an operation."""
    return any(isinstance(a, Call) and a.operation == operation for a in actions)


def starts_machine(actions: Sequence[Action]) -> bool:
    """Return True if the actions start a machine, which needs image and weights."""
    return any(has_call(actions, operation) for operation in STARTS)
