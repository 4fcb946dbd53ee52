"""The ingredients of a SageMaker model: its role, its image and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Ingredients", "ingredients_of"]


@dataclass(frozen=True, slots=True)
class Ingredients:
    """Resources that must stay so that endpoints of a model can start again."""

    role: str
    """ARN."""
    image: str
    """Repository in its registry, without tag and digest."""
    weights: str
    """s3:// address of an object or a prefix; empty where there is none."""


def ingredients_of(model: Mapping[str, Any]) -> Ingredients:
    """Return the role, image and weights in an answer of DescribeModel."""
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
