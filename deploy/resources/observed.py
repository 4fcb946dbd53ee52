"""What AWS says is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

__all__ = ["EndpointState", "Live", "count_drift", "stopped_config"]


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
    variant: str | None = None
    """The variant whose instances are counted: AllTraffic, or else the first."""
    instance_count: int | None = None
    desired_count: int | None = None
    pools: tuple[tuple[str, int], ...] = ()
    """Running instances by type, for a config with several instance types."""
    image: str | None = None
    """The digest that runs, as SageMaker resolved it."""
    stages: tuple[str, ...] = ()
    """What SageMaker is doing to the variant, in its words."""
    is_scaled: bool = False
    """Application Auto Scaling changes its instance count."""
    scaling_limits: tuple[int, int] | None = None
    """Fewest and most instances that Application Auto Scaling may set."""

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
    described: datetime | None = None
    """When `deploy` last found it to be what chandra.toml describes."""
    stopped: datetime | None = None
    """When `stop` last deleted the endpoint that had this config."""


def stopped_config(history: Sequence[Live]) -> Live | None:
    """Return the config of the endpoint that `stop` deleted last.

    None where no config was stopped, or where one has gone into service since. The
    config may have failed without ever being live.
    """
    stops = [(live.stopped, live) for live in history if live.stopped is not None]
    if not stops:
        return None
    stopped, last = max(stops, key=lambda stop: stop[0])
    is_started = any(
        live.since is not None and live.since > stopped for live in history
    )
    return None if is_started else last


def count_drift(state: EndpointState, count: int) -> str | None:
    """Say how an endpoint's number of instances differs from its config's `count`.

    Return None where it does not. What Application Auto Scaling does within its limits
    is no difference, and neither is a change that is under way.
    """
    found = state.desired_count
    if found is None:
        found = state.instance_count
    if found is None or state.is_changing:
        return None
    if state.is_scaled:
        lowest, highest = state.scaling_limits or (found, found)
        if lowest <= found <= highest:
            return None
        return (
            f"it has {found} instances, and its scaling allows {lowest} to {highest}: "
            "something else changed them"
        )
    if found == count:
        return None
    return (
        f"it has {found} instances, and config {state.config} has {count}: something "
        "else changed them"
    )
