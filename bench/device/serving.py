"""Memory and start time of the serving engine, compared with the memory plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from bench.device.hardware import NEEDS_CUDA, Hardware
from bench.device.vision import SIZES, make_grey_page
from bench.runs.recorder import TimedRecorder
from bench.runs.systems import MeasuredModel
from handler.engine.batching.memory_plan import (
    CONTEXT_BYTES,
    LATE_KERNEL_BYTES,
    MemoryPlan,
)
from handler.engine.device.capacity import choose_verified_tokens, plan_loaded_model
from handler.engine.device.graphs import Outputs, Shape, list_shapes
from handler.engine.fallbacks import Check
from handler.engine.request import EngineRequest
from handler.engine.selection.choice import choose_engine
from handler.settings import EngineSettings

__all__ = ["CheckTimes", "compare_memory", "measure_serving", "measure_workspace"]

_NUM_STEPS = 400
"""Limit of steps. An image is encoded in slices, one per step."""

Memory = Mapping[str, int]
"""Result of `Hardware.read_memory`."""


class CheckTimes:
    """Timer of the checks of the self-test, to be passed as `Announce`."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._check: Check | None = None
        self._begin = 0.0

    def __call__(self, check: Check | None) -> None:
        now = self._clock()
        if self._check is not None:
            before = self.seconds.get(self._check, 0.0)
            self.seconds[self._check] = before + now - self._begin
        self._check, self._begin = check, now


class _MemoryRecorder(TimedRecorder):
    """Recorder that reads the memory before the first and after the last recording."""

    def __init__(self, hardware: Hardware) -> None:
        super().__init__(hardware.device)
        self._hardware = hardware
        self.before: Memory | None = None
        self.after: Memory | None = None

    def __call__(
        self, compute: Callable[[], Outputs]
    ) -> tuple[Outputs, Callable[[], None]]:
        if self.before is None:
            self.before = self._hardware.read_memory()
        recorded = super().__call__(compute)
        self.after = self._hardware.read_memory()
        return recorded


def measure_serving(
    measured_model: MeasuredModel, hardware: Hardware, seconds: float
) -> dict[str, Any]:
    """Start the engine with its usual settings, and read a page of the largest size.

    Memory is in bytes. If the page is read, the plan holds, and `free` is the minimum
    of free memory. `terms` compares each term of the plan with its measurement; see
    `compare_memory`.
    """
    settings, profile = EngineSettings(), measured_model.geometry.profile
    recorder, checks = _MemoryRecorder(hardware), CheckTimes()
    hardware.release()
    before = hardware.read_memory()
    begin = time.perf_counter()
    chosen = choose_engine(
        measured_model.model, settings, profile.name, announce=checks, record=recorder
    )
    hardware.synchronize()
    start_seconds = time.perf_counter() - begin
    hardware.release()
    started = hardware.read_memory()
    page = make_grey_page(SIZES[measured_model.geometry.name]["largest"])
    prompt = measured_model.pages[0].request.prompt
    chosen.engine.submit(EngineRequest("largest", "largest", page, prompt, 8))
    ended = []
    for _ in range(_NUM_STEPS):
        ended += chosen.engine.step(lambda: None)
        if not chosen.engine.has_work:
            break
    hardware.synchronize()
    failure = next((page.error for page in ended if page.error), None)
    result: dict[str, Any] = {
        "engine": chosen.name,
        "attention": chosen.attention,
        "cuda_graphs": chosen.cuda_graphs,
        "fallbacks": list(chosen.fallbacks),
        "slots": chosen.max_pages_in_flight,
        "start_seconds": start_seconds,
        "check_seconds": checks.seconds,
        "recording_seconds": dict(recorder.times),
        "largest_page": "read" if ended and failure is None else str(failure),
    }
    after = hardware.read_memory()
    if before is None or started is None or after is None:
        return result | {"skipped": NEEDS_CUDA}
    plan = _plan(measured_model, hardware, settings, before["free"])
    return result | {
        "before": before,
        "started": started,
        "after_largest_page": after,
        "cache_tokens_planned": plan.cache_tokens,
        "terms": compare_memory(
            plan,
            weights_bytes=measured_model.costs.total * measured_model.costs.value_bytes,
            before=before,
            cached=recorder.before or started,
            recorded=recorder.after or started,
            started=started,
            after=after,
        ),
        "free": after["free"],
        "outside": after["outside"],
    }


def compare_memory(
    plan: MemoryPlan,
    *,
    weights_bytes: int,
    before: Memory,
    cached: Memory,
    recorded: Memory,
    started: Memory,
    after: Memory,
) -> dict[str, dict[str, int]]:
    """Return bytes planned and measured of each term of a memory plan.

    Memory is given `before` the engine's start with the weights loaded, when the cache
    is allocated, when all steps are recorded, when the engine has `started` with peaks
    forgotten, and `after` the largest page. What other processes use, and kernels that
    earlier measurements made CUDA load, count as context.
    """
    fragments = after["peak_reserved"] - after["peak_allocated"]
    fragments -= started["reserved"] - started["allocated"]
    pairs = {
        "weights": (weights_bytes, before["allocated"]),
        "context and kernels": (CONTEXT_BYTES + LATE_KERNEL_BYTES, after["outside"]),
        "cache": (plan.cache_bytes, cached["allocated"] - before["allocated"]),
        "graphs and workspaces": (
            plan.graph_bytes + plan.workspace_bytes,
            cached["free"] - recorded["free"],
        ),
        "largest image": (
            plan.image_bytes,
            after["peak_allocated"] - started["allocated"],
        ),
        "fragments": (plan.margin_bytes - LATE_KERNEL_BYTES, max(0, fragments)),
    }
    return {
        term: {"planned": planned, "measured": measured}
        for term, (planned, measured) in pairs.items()
    }


def _plan(
    measured_model: MeasuredModel,
    hardware: Hardware,
    settings: EngineSettings,
    free_bytes: int,
) -> MemoryPlan:
    """Compute the memory plan from the free memory, as the engine did."""
    most, num_drafts = (
        choose_verified_tokens(measured_model.model),
        settings.draft_tokens or 0,
    )

    def shapes_for(max_rows: int) -> list[Shape]:
        return list_shapes(max_rows, max_drafts=num_drafts, max_verified=most)

    return plan_loaded_model(
        measured_model.model.module.config,
        settings,
        measured_model.geometry.profile,
        shapes_for,
        available_bytes=free_bytes,
        capability=hardware.capability(),
        value_bytes=measured_model.costs.value_bytes,
    )


def measure_workspace(
    measured_model: MeasuredModel, hardware: Hardware, seconds: float
) -> Any:
    """Return the bytes that cuBLAS keeps per stream."""
    if not hardware.is_cuda:
        return {"skipped": NEEDS_CUDA}
    size = 1024
    left = torch.ones(size, size, dtype=torch.bfloat16, device=hardware.device)
    output = torch.empty_like(left)
    torch.mm(left, left, out=output)
    hardware.synchronize()
    first = hardware.read_memory() or {}
    with hardware.new_stream():
        torch.mm(left, left, out=output)
    hardware.synchronize()
    second = hardware.read_memory() or {}
    return {"bytes_per_stream": second["allocated"] - first["allocated"]}
