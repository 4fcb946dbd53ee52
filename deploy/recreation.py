"""An endpoint that a plan deletes to make it again, and the way back if that fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deploy.actions import Action, Call, Goal, Wait
from deploy.calls import delete_endpoint
from deploy.resources import EndpointState

__all__ = ["Recreation", "creation_after", "recreation_of"]

NOT_SERVING = ("Creating", "Deleting", "Failed", "OutOfService")


@dataclass(frozen=True, slots=True)
class Recreation:
    """What served until the plan deleted it."""

    endpoint: str
    config: str
    creation: Call
    """Makes the endpoint again as it was."""

    def restoration(self, state: EndpointState | None) -> list[Action] | None:
        """Return what brings the old config back; None while SageMaker is at work.

        Nothing has to be done where the old config serves still.

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


def creation_after(call: Call, rest: Sequence[Action]) -> Call | None:
    """Return the call in `rest` that creates the endpoint that `call` deletes."""
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
    """Return what is lost if `creation` fails; None where nothing serves.

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
