"""Restoration of an endpoint that a plan deleted and could not replace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deploy.plan.actions import Action, Call, Goal, Wait
from deploy.plan.calls import delete_endpoint
from deploy.resources import EndpointState

__all__ = ["Recreation", "find_creation", "recreation_of"]

NOT_SERVING = ("Creating", "Deleting", "Failed", "OutOfService")


@dataclass(frozen=True, slots=True)
class Recreation:
    """Endpoint and config that served until the plan deleted the endpoint."""

    endpoint: str
    config: str
    creation: Call
    """Call that creates the endpoint as it was."""

    def restoration(self, state: EndpointState | None) -> list[Action] | None:
        """Return the actions that bring the old config into service again.

        The list is empty if the old config still serves. The result is None, and
        nothing can be restored, while SageMaker changes the endpoint, and if the
        endpoint serves another config.

        Args:
            state: the endpoint as it is now, after the plan failed.
        """
        arrived = Wait(self.endpoint, Goal.IN_SERVICE, self.config)
        gone = Wait(self.endpoint, Goal.DELETED)
        if state is None:
            return [self.creation, arrived]
        if state.status == "Deleting":
            return [gone, self.creation, arrived]
        if state.status in ("Failed", "OutOfService"):
            return [delete_endpoint(self.endpoint), gone, self.creation, arrived]
        if state.status not in NOT_SERVING and state.config == self.config:
            return []
        return None


def find_creation(call: Call, rest: Sequence[Action]) -> Call | None:
    """Return the call in `rest` that creates the endpoint that `call` deletes.

    Returns None if `call` deletes no endpoint, or `rest` does not create it again.
    """
    name = call.params.get("EndpointName")
    if call.operation != "delete_endpoint" or name is None:
        return None
    for other in rest:
        if (
            isinstance(other, Call)
            and other.operation == "create_endpoint"
            and other.params.get("EndpointName") == name
        ):
            return other
    return None


def recreation_of(creation: Call, state: EndpointState | None) -> Recreation | None:
    """Return the endpoint to restore if `creation` fails; None if nothing serves.

    Args:
        creation: creates the endpoint again, with another config.
        state: the endpoint before it is deleted.
    """
    if state is None or state.status in NOT_SERVING:
        return None
    call = replace(
        creation,
        params={**creation.params, "EndpointConfigName": state.config},
        sentence=f"create endpoint {state.name} again with config {state.config}, "
        "which served before",
    )
    return Recreation(state.name, state.config, call)
