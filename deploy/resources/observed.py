"""What AWS says is there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["EndpointState", "Live"]


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What is there."""

    name: str
    status: str
    config: str
    is_ours: bool
    pending_config: str | None = None
    """What it is changing to."""
    failure: str | None = None
    created: datetime | None = None
    modified: datetime | None = None
    instance_count: int | None = None
    desired_count: int | None = None
    pools: tuple[tuple[str, int], ...] = ()
    """Of a config with several instance types: how many instances of each run."""
    image: str | None = None
    """The digest that runs, as SageMaker resolved it."""
    stages: tuple[str, ...] = ()
    """What SageMaker is doing to the variant, in its words."""
    is_scaled: bool = False
    """Application Auto Scaling changes its instance count."""

    @property
    def is_changing(self) -> bool:
        return self.status in (
            "Creating",
            "Updating",
            "SystemUpdating",
            "RollingBack",
            "Deleting",
        )


@dataclass(frozen=True, slots=True)
class Live:
    """An endpoint config of ours, and when it last went into service."""

    config: str
    created: datetime
    since: datetime | None
