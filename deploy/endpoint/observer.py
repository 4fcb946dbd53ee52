"""Interface through which a planner reads an account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from deploy.queue.scaling import ObservedScaling
from deploy.resources import DatedConfig, EndpointState

__all__ = ["EmptyAccount", "Observer"]


class Observer(Protocol):
    """Source of the state of an account, for planners."""

    def read_endpoint(self, name: str) -> EndpointState | None: ...
    def has_model(self, name: str) -> bool: ...
    def has_config(self, name: str) -> bool: ...
    def history(self, deployment: str) -> Sequence[DatedConfig]:
        """Return the deployment's configs, the one last in service at the front."""
        ...

    def rollback_alarms(self, deployment: str) -> Sequence[str]: ...
    def read_scheduled_start(self, deployment: str) -> dict[str, Any] | None:
        """Return the entry that starts the endpoint, as UpdateSchedule takes it."""
        ...

    def read_scaling(self, endpoint: str) -> ObservedScaling: ...


class EmptyAccount:
    """Observer of an empty account, which a plan without credentials assumes."""

    def read_endpoint(self, name: str) -> EndpointState | None:
        return None

    def has_model(self, name: str) -> bool:
        return False

    def has_config(self, name: str) -> bool:
        return False

    def history(self, deployment: str) -> Sequence[DatedConfig]:
        return ()

    def rollback_alarms(self, deployment: str) -> Sequence[str]:
        return ()

    def read_scheduled_start(self, deployment: str) -> dict[str, Any] | None:
        return None

    def read_scaling(self, endpoint: str) -> ObservedScaling:
        return ObservedScaling()
