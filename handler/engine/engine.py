"""Interface of all engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from handler.engine.fallbacks import Fallback
from handler.engine.request import EngineOutput, EngineRequest
from handler.engine.steps import StepTimer

__all__ = ["Engine", "EngineInfo"]


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Description of a loaded engine: its model, device and capacity."""

    model_id: str
    revision: str | None
    profile: str
    engine: str
    device: str
    max_pages_in_flight: int
    """Maximum number of pages that the engine process is given at once."""
    is_trained: bool = True
    attention: str = "torch"
    """flash (the CUDA operator), torch, or transformers (with `generate`)."""
    cuda_graphs: bool = False
    """True if decode steps are recorded as CUDA graphs."""
    fallbacks: tuple[Fallback, ...] = ()
    """Optimisations given up at the start; always empty on a processor."""


class Engine(Protocol):
    """Engine that reads pages, several at a time. It belongs to one thread.

    `submit` and `cancel` may be called at any time, also within `poll`. `step` returns
    exactly one output for each submitted request.
    """

    @property
    def steps(self) -> StepTimer:
        """Timer to which the engine reports the start of each step."""

    def submit(self, request: EngineRequest) -> None:
        """Queue a request. If it is invalid, its output has an error."""

    def cancel(self, engine_request_id: str) -> None:
        """Abort a request as soon as possible; ignore unknown ids."""

    @property
    def has_work(self) -> bool:
        """True if there are requests without an output."""

    def count_output_tokens(self) -> dict[str, int]:
        """Return the number of output tokens so far of each running request, by id."""

    def step(self, poll: Callable[[], None]) -> list[EngineOutput]:
        """Do one step of work; return the outputs of requests that ended.

        An engine whose steps compute several tokens calls `poll` after each token.
        Errors of single requests are outputs. An exception means that the state of the
        process is unreliable, so that it must be replaced.
        """
