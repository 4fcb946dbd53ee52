"""Fallbacks: optimisations that can be given up, and their replacements.

They are given up in this order: CUDA graphs, the attention operator, the native engine.
The engine process gives one up if its self-test fails. The worker does so if the
process died during a check, or died repeatedly. This module does not import torch.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace

from handler.settings import EngineSettings

__all__ = [
    "GENERATE",
    "Announce",
    "Check",
    "DeviceLostError",
    "ExecutionMode",
    "Fallback",
    "NativeEngineError",
    "SelfTestError",
    "list_modes",
    "settings_after_death",
]


class Check(enum.StrEnum):
    """Part of the self-test that runs before an engine on a GPU is ready."""

    ATTENTION = "attention"
    """Compare the attention operator with a reference in float32."""
    CUDA_GRAPHS = "cuda_graphs"
    """Record decode steps, and compare them with the same steps run eagerly."""
    FORWARD = "forward"
    """Compare the encoder and the text model with transformers' own."""
    LARGEST_IMAGE = "largest_image"
    """Encode a page of the largest size."""


class Fallback(enum.StrEnum):
    """Optimisation given up; a stable code for /ping, logs and metrics."""

    CUDA_GRAPHS_FAILED = "cuda_graphs_failed"
    """Steps could not be recorded, or their memory was needed: they run eagerly."""
    CUDA_GRAPHS_MISMATCH = "cuda_graphs_mismatch"
    """Recorded steps differ from eager ones: steps run eagerly."""
    CUDA_GRAPHS_CRASHED = "cuda_graphs_crashed"
    """Processes that were ready have died with them: steps run eagerly."""
    ATTENTION_FAILED = "attention_failed"
    """The operator could not run: torch's attention is used, without graphs."""
    ATTENTION_MISMATCH = "attention_mismatch"
    """The operator's results are wrong: torch's attention is used, without graphs."""
    ATTENTION_CRASHED = "attention_crashed"
    """Processes without graphs have died too: torch's attention is used."""
    FORWARD_MISMATCH = "forward_mismatch"
    """The native forward pass or encoder is wrong: `generate` is used instead."""
    CACHE_REDUCED = "cache_reduced"
    """The KV cache was made smaller, so that the largest image fits beside it."""
    ENGINE_GENERATE = "engine_generate"
    """The native engine could not run: transformers' `generate` is used."""


Announce = Callable[[Check | None], None]
"""Callback that tells the worker which check begins; None: the check has ended."""


@dataclass(frozen=True, slots=True)
class ExecutionMode:
    """Combination of engine, attention and graphs with which a model runs."""

    engine: str = "native"
    attention: str = "torch"
    """flash (the operator), torch, or transformers (with `generate`)."""
    cuda_graphs: bool = False

    def __str__(self) -> str:
        steps = "recorded steps" if self.cuda_graphs else "eager steps"
        return f"{self.engine} engine, {self.attention} attention, {steps}"


GENERATE = ExecutionMode("generate", "transformers")


def list_modes(settings: EngineSettings, *, has_operator: bool) -> list[ExecutionMode]:
    """List the ways to run the native engine on a GPU, the fastest first."""
    modes = [ExecutionMode(), GENERATE]
    if has_operator and settings.attention == "auto":
        modes.insert(0, ExecutionMode(attention="flash"))
        if settings.cuda_graphs:
            modes.insert(0, ExecutionMode(attention="flash", cuda_graphs=True))
    return modes


class SelfTestError(Exception):
    """A check found a wrong result.

    `actual` is the largest error and `allowed` the bound, both as shares of the
    largest expected value; `case` names the input.
    """

    def __init__(
        self, check: Check, case: str, *, actual: float, allowed: float
    ) -> None:
        super().__init__(f"{check}, {case}: error {actual:.4f}, allowed {allowed:.4f}")
        self.check = check
        self.case = case
        self.actual = actual
        self.allowed = allowed


class NativeEngineError(Exception):
    """The native engine cannot be prepared in any execution mode."""


class DeviceLostError(Exception):
    """The CUDA context is unusable. Only a new process can use the device."""


def settings_after_death(
    check: Check, settings: EngineSettings
) -> tuple[EngineSettings, Fallback] | None:
    """Choose the settings of the next start after a process died during `check`.

    Returns the settings without the optimisation that was checked, and its code; None
    if no optimisation is left to give up.
    """
    if settings.engine == "generate":
        return None
    if check is Check.CUDA_GRAPHS and settings.cuda_graphs:
        return replace(settings, cuda_graphs=False), Fallback.CUDA_GRAPHS_FAILED
    if settings.attention != "torch":
        return replace(settings, attention="torch"), Fallback.ATTENTION_FAILED
    return replace(settings, engine="generate"), Fallback.ENGINE_GENERATE
