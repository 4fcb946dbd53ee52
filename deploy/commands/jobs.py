"""A transform job looked up, and which of its results are there."""

from __future__ import annotations

from datetime import datetime

from deploy.aws.transforms import Transforms
from deploy.commands.context import Context
from deploy.errors import NotFoundError
from deploy.transforms import TransformState

__all__ = ["done_of", "found", "transforms_of"]


def transforms_of(context: Context) -> Transforms:
    return Transforms(context.aws, context.config.name)


def found(context: Context, name: str) -> TransformState:
    """A job of ours; raises NotFoundError."""
    state = transforms_of(context).transform(name)
    if state is None or not state.is_ours:
        raise NotFoundError(
            f"there is no transform job {name} of deployment {context.config.name}",
            hint="chandra-sagemaker transform status",
        )
    return state


def done_of(
    transforms: Transforms, output: str, *, since: datetime | None = None
) -> set[str]:
    """Keys of the results below an output."""
    return {
        result.key
        for result in transforms.results(output)
        if result.key.endswith(".out") and (since is None or result.modified >= since)
    }
