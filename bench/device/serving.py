"""Memory and start of the engine as it serves: measured beside what was planned."""

from __future__ import annotations

import time
from typing import Any

import torch

from bench.device.hardware import NEEDS_CUDA, Hardware
from bench.device.vision import SIZES, page_of
from bench.systems import Stage
from handler.engine.capacity import cache_places
from handler.engine.choice import choose_engine
from handler.engine.sequence import Sequence
from handler.settings import EngineSettings

__all__ = ["measure_serving", "measure_workspace"]

_NUM_STEPS = 200


def measure_serving(stage: Stage, hardware: Hardware, seconds: float) -> dict[str, Any]:
    """Start the engine with its usual settings, and read a page of the largest size.

    Memory is in bytes. The plan holds if the page was read: then `free` is what was
    left at the worst moment. `kept_free_planned` is what the plan left for graphs, the
    largest image and a margin, beside `graphs` and `workspace_of_largest_page`.
    """
    before = hardware.memory()
    places = cache_places(stage.model)
    begin = time.perf_counter()
    chosen = choose_engine(stage.model, EngineSettings(), stage.geometry.profile.name)
    hardware.synchronize()
    start_seconds = time.perf_counter() - begin
    started = hardware.memory()
    page = page_of(SIZES[stage.geometry.name]["largest"])
    prompt = stage.pages[0].sequence.prompt
    chosen.engine.submit(Sequence("largest", "largest", page, prompt, 8))
    ended = []
    for _ in range(_NUM_STEPS):
        ended += chosen.engine.step(lambda: None)
        if not chosen.engine.has_work:
            break
    hardware.synchronize()
    failure = next((page.error for page in ended if page.error), None)
    found: dict[str, Any] = {
        "engine": chosen.name,
        "slots": chosen.num_slots,
        "cache_places": places,
        "cache_planned": places * stage.costs.cache_bytes,
        "weights_planned": stage.costs.total * stage.costs.value_bytes,
        "start_seconds": start_seconds,
        "largest_page": "read" if ended and failure is None else str(failure),
    }
    after = hardware.memory()
    if before is None or started is None or after is None:
        return found | {"skipped": NEEDS_CUDA}
    return found | {
        "before": before,
        "started": started,
        "after_largest_page": after,
        "graphs": started["reserved"]
        - before["reserved"]
        - places * stage.costs.cache_bytes,
        "workspace_of_largest_page": after["peak_allocated"] - started["allocated"],
        "kept_free_planned": before["free"] - places * stage.costs.cache_bytes,
        "free": after["free"],
        "outside": after["outside"],
    }


def measure_workspace(stage: Stage, hardware: Hardware, seconds: float) -> Any:
    """Return the bytes that cuBLAS keeps for each stream that multiplies."""
    if not hardware.is_cuda:
        return {"skipped": NEEDS_CUDA}
    size = 1024
    left = torch.ones(size, size, dtype=torch.bfloat16, device=hardware.device)
    output = torch.empty_like(left)
    torch.mm(left, left, out=output)
    hardware.synchronize()
    first = hardware.memory() or {}
    with hardware.new_stream():
        torch.mm(left, left, out=output)
    hardware.synchronize()
    second = hardware.memory() or {}
    return {"bytes_per_stream": second["allocated"] - first["allocated"]}
