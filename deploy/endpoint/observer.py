"""What there is of a deployment, as the planner asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from deploy.queue.scaling import ObservedScaling
from deploy.resources import EndpointState, Live

__all__ = ["NothingThere", "Observer"]


class Observer(Protocol):
    """What the planner needs to know."""

    def endpoint(self, name: str) -> EndpointState | None: ...
    def has_model(self, name: str) -> bool: ...
    def has_config(self, name: str) -> bool: ...
    def history(self, deployment: str) -> Sequence[Live]:
        """Its configs: those that were live first, newest first."""
        ...

    def rollback_alarms(self, deployment: str) -> Sequence[str]: ...
    def scheduled_start(self, deployment: str) -> dict[str, Any] | None:
        """The entry that starts the endpoint each morning, as it can be sent again."""
        ...

    def scaling(self, endpoint: str) -> ObservedScaling: ...


class NothingThere:
    """An account with nothing in it: what a plan without credentials assumes."""

    def endpoint(self, name: str) -> EndpointState | None:
        return None

    def has_model(self, name: str) -> bool:
        return False

    def has_config(self, name: str) -> bool:
        return False

    def history(self, deployment: str) -> Sequence[Live]:
        return ()

    def rollback_alarms(self, deployment: str) -> Sequence[str]:
        return ()

    def scheduled_start(self, deployment: str) -> dict[str, Any] | None:
        return None

    def scaling(self, endpoint: str) -> ObservedScaling:
        return ObservedScaling()
