"""What a plan is made of: calls not yet made, and waits between them.

A call is a value with a sentence. A dry run prints the sentence, a run makes the call,
a test compares the parameters with AWS's own service model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = ["Action", "Call", "Goal", "Wait"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call that changes something."""

    service: str
    operation: str
    """The name of boto3's method."""
    params: Mapping[str, Any]
    sentence: str
    """In the imperative: what it does to what."""
    may_exist: bool = False
    """Already there is as good: its name is a digest of its contents."""
    may_be_missing: bool = False
    """Already gone is as good."""
    is_patient: bool = False
    """What it names was made a moment ago: not there is not there yet."""
    may_be_denied: bool = False
    """If the caller has no right to this call, the plan goes on with a note."""

    def to_json(self) -> dict[str, Any]:
        return {
            "action": self.sentence,
            "service": self.service,
            "operation": self.operation,
            "params": {name: _shown(value) for name, value in self.params.items()},
        }


def _shown(value: object) -> object:
    """A file is not shown in a plan; how large it is says enough."""
    return f"{len(value):,} bytes" if isinstance(value, bytes) else value


class Goal(Enum):
    """What a wait is for."""

    IN_SERVICE = "in service"
    SETTLED = "no longer changing"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing goes on before the endpoint has got there."""

    endpoint: str
    goal: Goal
    config: str | None = None
    """In service with this config; with another one it was rolled back."""
    instance_count: int | None = None
    """The number to reach if an endpoint is resized and keeps its config."""

    @property
    def sentence(self) -> str:
        return f"wait until endpoint {self.endpoint} is {self.goal.value}"

    def to_json(self) -> dict[str, Any]:
        return {"action": self.sentence, "endpoint": self.endpoint}


Action = Call | Wait
