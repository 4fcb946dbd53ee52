"""What every engine does, whichever way it generates."""

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
    """What is loaded, where, and how much it takes at once."""

    model_id: str
    revision: str | None
    profile: str
    engine: str
    device: str
    num_slots: int
    """Pages worth having in the engine process at once."""
    is_trained: bool = True
    attention: str = "torch"
    """flash (the CUDA operator), torch, or transformers (with `generate`)."""
    cuda_graphs: bool = False
    """True if decode steps are recorded."""
    fallbacks: tuple[Fallback, ...] = ()
    """Optimisations given up at start; always empty on a processor."""


class Engine(Protocol):
    """Reads pages, some of them together. Used by one thread.

    Pages join by `submit` and leave by `cancel` at any time, also from within
    `poll`; every page submitted comes out of `step` exactly once.
    """

    @property
    def steps(self) -> StepTimer:
        """The timer to which the engine reports each step that it begins."""

    def submit(self, request: EngineRequest) -> None:
        """Queue a page."""

    def cancel(self, engine_request_id: str) -> None:
        """Give a page up as soon as possible; unknown ids are ignored."""

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""

    def num_output_tokens(self) -> dict[str, int]:
        """How far each page being read has got."""

    def step(self, poll: Callable[[], None]) -> list[EngineOutput]:
        """Work for a while and return the pages that ended.

        An engine whose step takes longer than a token calls `poll` after each.
        Raises only when nothing in this process can be relied on any more.
        """
