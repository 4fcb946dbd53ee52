"""Messages between the worker and an engine process."""

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
    "PageProgress",
    "Pipe",
    "Prepared",
    "Ready",
    "Submit",
    "ToEngine",
]


class Pipe(Protocol):
    """Interface of the engine process's end of the pipe."""

    def send(self, message: Any, /) -> None: ...
    def recv(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Submit:
    """Request to read a page."""

    request: EngineRequest


@dataclass(frozen=True, slots=True)
class Cancel:
    """Request to stop reading a page, whose result is no longer needed."""

    engine_request_id: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """Report that the weights are on this machine's disk.

    Other engine processes can load them from now on, one per accelerator.
    """

    num_accelerators: int


@dataclass(frozen=True, slots=True)
class Checking:
    """Report that a check of the self-test begins, during which the process may die.

    None means that the check has ended.
    """

    check: Check | None


@dataclass(frozen=True, slots=True)
class Ready:
    """Report that the engine is loaded and can read pages."""

    info: EngineInfo


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """Report that the model cannot be loaded. The process ends after it."""

    reason: str
    is_transient: bool = False
    """A later start may succeed without any change."""


@dataclass(frozen=True, slots=True)
class PageProgress:
    """Output tokens of each page being read so far, which show that pages advance."""

    num_output_tokens: dict[str, int]
    device_bytes: int | None = None
    """Memory in use on the accelerator; None on a CPU."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Sign that the process runs. It does not show that pages advance."""

    step: RunningStep | None
    """The running step; None while there is no work."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Result of a page that was read, failed or was cancelled."""

    output: EngineOutput


ToEngine = Submit | Cancel
FromEngine = Prepared | Checking | Ready | LoadFailed | PageProgress | Heartbeat | Ended
