"""Capacity of a device: measures its free memory, and sizes the engine accordingly."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from handler.engine.batching.memory_plan import (
    EXPECTED_OUTPUT_TOKENS,
    MAX_RUNNING_PAGES,
    PROMPT_TOKENS,
    MemoryPlan,
    StepShape,
    Workload,
    plan_memory,
    read_model_sizes,
    require_room,
)
from handler.engine.device.model import Model
from handler.profiles import PROFILES, Profile
from handler.settings import EngineSettings

__all__ = [
    "Room",
    "choose_verified_tokens",
    "estimate_verified_tokens",
    "find_room",
    "largest_image_pixels",
    "measure_cache_tokens",
    "plan_loaded_model",
]

logger = logging.getLogger(__name__)

_CPU_CACHE_TOKENS = 32_768
_VERIFIED_TOKENS = 64
_CPU_BYTES = 2 * 1024**3
_CPU_PAGES = 16
_DEMO_CACHE_BYTES = 1024**3
"""Cache of `mini` on a GPU. `mini` is a demo, and leaves the rest to other programs."""

ShapesFor = Callable[[int], Sequence[StepShape]]
"""Returns the shapes of the steps recorded for a number of pages."""


@dataclass(frozen=True, slots=True)
class Room:
    """Resources of an engine. Sizes are tokens of the KV cache."""

    cache_tokens: int
    num_pages: int
    """Pages generated together."""
    min_cache_tokens: int = 1
    """Lower limit of the cache when it shrinks after a step ran out of memory."""
    image_tokens: int = 0
    """Tokens of the cache that take as much memory as encoding the largest image."""


def find_room(
    model: Model, settings: EngineSettings, profile: Profile, shapes_for: ShapesFor
) -> Room:
    """Choose the size of the KV cache and the number of pages for the model's device.

    On a GPU, divides the free memory, after it has released what torch does not use,
    and logs the plan. On a processor, uses the settings or constants. Raises
    ModelLoadError if a GPU has no room for the largest page or for the cache in the
    settings.
    """
    if model.device.type != "cuda":
        return Room(
            cache_tokens=settings.kv_cache_tokens or measure_cache_tokens(model),
            num_pages=settings.max_sequences or _CPU_PAGES,
        )
    # After loading, torch's allocator holds unused memory that CUDA counts as used.
    torch.cuda.empty_cache()
    available_bytes, _ = torch.cuda.mem_get_info(model.device)
    plan = plan_loaded_model(
        model.module.config,
        settings,
        profile,
        shapes_for,
        available_bytes=available_bytes,
        capability=torch.cuda.get_device_capability(model.device),
        value_bytes=model.module.dtype.itemsize,
    )
    logger.info("memory plan", extra=plan.to_json())
    require_room(plan, torch.cuda.get_device_name(model.device))
    return Room(
        cache_tokens=plan.cache_tokens,
        num_pages=plan.num_pages,
        min_cache_tokens=plan.page_tokens,
        image_tokens=plan.image_bytes // plan.bytes_per_token,
    )


def plan_loaded_model(
    config: Any,
    settings: EngineSettings,
    profile: Profile,
    shapes_for: ShapesFor,
    *,
    available_bytes: int,
    capability: tuple[int, int],
    value_bytes: int = 2,
) -> MemoryPlan:
    """Plan the memory that is free once a model of this configuration is loaded."""
    workload = Workload(
        max_pixels=largest_image_pixels(profile, settings.max_side),
        max_output_tokens=profile.max_output_tokens,
        expected_output_tokens=EXPECTED_OUTPUT_TOKENS,
        prefill_tokens=settings.prefill_tokens,
        draft_tokens=settings.draft_tokens or 0,
        num_pages=settings.max_sequences,
        kv_cache_tokens=settings.kv_cache_tokens,
        max_cache_bytes=_DEMO_CACHE_BYTES if profile.name == "mini" else None,
        shapes_for=shapes_for,
    )
    return plan_memory(
        read_model_sizes(config, weights_bytes=0, value_bytes=value_bytes),
        workload,
        available_bytes=available_bytes,
        capability=capability,
        is_loaded=True,
    )


def largest_image_pixels(profile: Profile, max_side: int | None) -> int:
    """Return the pixels of the largest image that the model sees.

    `max_side` is the setting that caps the long side; None: no cap. Pages of fewer than
    the profile's `min_pixels` are enlarged after that cap.
    """
    sizing = profile.sizing
    if max_side is None:
        return sizing.max_pixels
    side = -(-max_side // sizing.patch_grid) * sizing.patch_grid
    return min(sizing.max_pixels, max(sizing.min_pixels, side * side))


def measure_cache_tokens(model: Model) -> int:
    """Return how many tokens a KV cache beside the weights can hold, at least one.

    On a GPU this is measured, and memory for the largest image of any profile is
    reserved. On a processor the cache is limited to 32,768 tokens and 2 GiB.
    """
    sizes = read_model_sizes(model.module.config, 0, model.module.dtype.itemsize)
    if model.device.type != "cuda":
        return min(_CPU_CACHE_TOKENS, _CPU_BYTES // sizes.bytes_per_token)
    torch.cuda.empty_cache()
    available_bytes, _ = torch.cuda.mem_get_info(model.device)
    workload = Workload(
        max_pixels=max(profile.sizing.max_pixels for profile in PROFILES.values()),
        max_output_tokens=max(p.max_output_tokens for p in PROFILES.values()),
        expected_output_tokens=EXPECTED_OUTPUT_TOKENS,
        prefill_tokens=PROMPT_TOKENS,
        num_pages=MAX_RUNNING_PAGES,
    )
    plan = plan_memory(
        sizes,
        workload,
        available_bytes=available_bytes,
        capability=torch.cuda.get_device_capability(model.device),
        is_loaded=True,
    )
    return max(1, plan.room_tokens)


def choose_verified_tokens(model: Model) -> int:
    """Return the maximum number of tokens of a decode step on the model's device."""
    if model.device.type != "cuda":
        return _VERIFIED_TOKENS
    return estimate_verified_tokens(torch.cuda.get_device_capability(model.device))


def estimate_verified_tokens(capability: tuple[int, int]) -> int:
    """Estimate how many tokens a GPU computes in about the time of one.

    Up to this number, a step takes as long as reading the weights. Hopper and newer
    GPUs have more FLOPs per byte of memory bandwidth.
    """
    return 160 if capability >= (9, 0) else _VERIFIED_TOKENS
