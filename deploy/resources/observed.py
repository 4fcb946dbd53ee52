"""State and history of an endpoint, as AWS describes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

__all__ = ["DatedConfig", "EndpointState", "describe_count_drift", "stopped_config"]


@dataclass(frozen=True, slots=True)
class EndpointState:
    """State of an endpoint."""

    name: str
    status: str
    config: str
    is_ours: bool
    pending_config: str | None = None
    """Config that an update is changing it to."""
    failure: str | None = None
    created: datetime | None = None
    modified: datetime | None = None
    variant: str | None = None
    """Name of the variant whose instances are counted: AllTraffic, or else the
    first."""
    instance_count: int | None = None
    desired_count: int | None = None
    pools: tuple[tuple[str, int], ...] = ()
    """Running instances by type, for a config with several instance types."""
    image: str | None = None
    """Image by digest that runs, as SageMaker resolved it."""
    stages: tuple[str, ...] = ()
    """Status of the changes that SageMaker is making to the variant."""
    is_scaled: bool = False
    """True if Application Auto Scaling sets the number of instances."""
    scaling_limits: tuple[int, int] | None = None
    """Fewest and most instances that Application Auto Scaling may set."""

    @property
    def is_changing(self) -> bool:
        """True while SageMaker changes the endpoint, and rejects updates."""
        return self.status in (
            "Creating",
            "Updating",
            "SystemUpdating",
            "RollingBack",
            "Deleting",
        )


@dataclass(frozen=True, slots=True)
class DatedConfig:
    """Endpoint config of a deployment, with the times that its tags record."""

    config: str
    created: datetime
    since: datetime | None
    """Time at which it last went into service; None if it never did."""
    described: datetime | None = None
    """Time at which `deploy` last found that chandra.toml describes it."""
    stopped: datetime | None = None
    """Time at which `stop` last deleted the endpoint that had this config."""


def stopped_config(history: Sequence[DatedConfig]) -> DatedConfig | None:
    """Return the config of the endpoint that `stop` deleted last.

    Returns None if no endpoint was stopped, or if a config has gone into service since.
    The stopped config may never have been in service.
    """
    stops = [(live.stopped, live) for live in history if live.stopped is not None]
    if not stops:
        return None
    stopped, last = max(stops, key=lambda stop: stop[0])
    is_started = any(
        live.since is not None and live.since > stopped for live in history
    )
    return None if is_started else last


def describe_count_drift(state: EndpointState, count: int) -> str | None:
    """Return a sentence if the number of instances is not `count`, the config's number.

    Returns None if it is, if its number is not known, while it is changing,
    and if Application Auto Scaling sets the number and it is within the limits.
    """
    current = state.desired_count
    if current is None:
        current = state.instance_count
    if current is None or state.is_changing:
        return None
    if state.is_scaled:
        lowest, highest = state.scaling_limits or (current, current)
        if lowest <= current <= highest:
            return None
        return (
            f"it has {current} instances, and its scaling allows {lowest} to "
            f"{highest}: something else changed them"
        )
    if current == count:
        return None
    return (
        f"it has {current} instances, and config {state.config} has {count}: something "
        "else changed them"
    )
