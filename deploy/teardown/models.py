"""Role, image and weights that a SageMaker model uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Ingredients", "ingredients_of"]


@dataclass(frozen=True, slots=True)
class Ingredients:
    """Resources that must not be deleted while endpoints of a model may start."""

    role: str
    """ARN of the role."""
    image: str
    """Repository with its registry, without tag and digest."""
    weights: str
    """s3:// address of an object or a prefix; empty if there is none."""


def ingredients_of(model: Mapping[str, Any]) -> Ingredients:
    """Return the role, image and weights in an answer of DescribeModel.

    A value that the answer does not have is empty.
    """
    container = model.get("PrimaryContainer", {})
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    pulled = container.get("Environment", {}).get("MODEL_S3_URI")
    return Ingredients(
        role=str(model.get("ExecutionRoleArn", "")),
        image=str(container.get("Image", "")).partition("@")[0].partition(":")[0],
        weights=str(
            container.get("ModelDataUrl") or source.get("S3Uri") or pulled or ""
        ),
    )
