"""Actions of a plan: calls of AWS, and waits between them.

They are values, and creating one calls nothing. A dry run prints the sentence of an
action, the executor makes the call, and a test compares the parameters with AWS's own
service model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = ["Action", "Call", "Goal", "Wait"]


@dataclass(frozen=True, slots=True)
class Call:
    """Call of AWS that changes something."""

    service: str
    operation: str
    """Name of the method of the boto3 client."""
    params: Mapping[str, Any]
    sentence: str
    """What the call does to what, in the imperative."""
    may_exist: bool = False
    """A resource of this name counts as created: the name has a digest of the
    contents."""
    may_be_missing: bool = False
    """A resource that does not exist counts as deleted."""
    retry_if_missing: bool = False
    """Retry on NotFoundError: AWS may not yet see a resource that was just created."""
    may_be_denied: bool = False
    """Go on with a note if the caller has no right to this call."""

    def to_json(self) -> dict[str, Any]:
        """Return the call as `--json` lists it."""
        return {
            "action": self.sentence,
            "service": self.service,
            "operation": self.operation,
            "params": {name: _shown(value) for name, value in self.params.items()},
        }


def _shown(value: object) -> object:
    """Return a parameter for display: the size of a file instead of its bytes."""
    return f"{len(value):,} bytes" if isinstance(value, bytes) else value


class Goal(Enum):
    """State of an endpoint that ends a wait."""

    IN_SERVICE = "in service"
    SETTLED = "no longer changing"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Wait:
    """Wait until an endpoint has reached a goal."""

    endpoint: str
    goal: Goal
    config: str | None = None
    """Config to be in service with. Another one means that an update was rolled
    back."""
    instance_count: int | None = None
    """Number of instances to reach if an endpoint is resized and keeps its config."""

    @property
    def sentence(self) -> str:
        return f"wait until endpoint {self.endpoint} is {self.goal.value}"

    def to_json(self) -> dict[str, Any]:
        """Return the wait as `--json` lists it."""
        return {"action": self.sentence, "endpoint": self.endpoint}


Action = Call | Wait
