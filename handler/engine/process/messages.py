"""What the worker and an engine process say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from handler.engine.engine import EngineInfo
from handler.engine.fallbacks import Check
from handler.engine.request import EngineOutput, EngineRequest
from handler.engine.steps import RunningStep

__all__ = [
    "Cancel",
    "Checking",
    "Ended",
    "FromEngine",
    "Heartbeat",
    "LoadFailed",
    "Pipe",
    "Prepared",
    "Progress",
    "Ready",
    "Submit",
    "ToEngine",
]


class Pipe(Protocol):
    """What an engine process needs of its end of the pipe."""

    def send(self, message: Any, /) -> None: ...
    def recv(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Submit:
    """Read this page."""

    request: EngineRequest


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for this page any more."""

    engine_request_id: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """The weights are on this machine's disk, and it has so many accelerators."""

    num_accelerators: int


@dataclass(frozen=True, slots=True)
class Checking:
    """A check of the self-test begins, during which the process may die.

    None means that the check has ended.
    """

    check: Check | None


@dataclass(frozen=True, slots=True)
class Ready:
    """Pages can be read now."""

    info: EngineInfo


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The model cannot be loaded."""

    reason: str
    is_transient: bool = False
    """A later start may succeed without any change."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Output tokens so far of each page being read; shows that pages advance."""

    num_output_tokens: dict[str, int]
    device_bytes: int | None = None
    """Memory of the accelerator that is in use; None where there is none."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Sign that the process runs; it does not show that pages advance."""

    step: RunningStep | None
    """The running step; None while there is no work."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A page is done, one way or another."""

    output: EngineOutput


ToEngine = Submit | Cancel
FromEngine = Prepared | Checking | Ready | LoadFailed | Progress | Heartbeat | Ended
