"""What a device has room for beside the weights, and how much it computes at once."""

from __future__ import annotations

import torch

from handler.engine.model import Model

__all__ = ["cache_places", "verified_tokens"]

_GPU_SHARE = 0.92
_GPU_WORKSPACE_BYTES = 1600 * 1024**2
"""For an image of the largest size in the vision encoder; an estimate."""
_GPU_GRAPHS_BYTES = 512 * 1024**2
"""For what recorded steps compute, most of it logits; an estimate, too."""
_CPU_PLACES = 32_768
_CPU_BYTES = 2 * 1024**3


def cache_places(model: Model) -> int:
    """How many tokens' keys and values there is memory for, the weights being there.

    On a GPU most of what is free; the rest is for encoding images and for logits.
    """
    config = model.module.model.language_model.config
    num_values = 2 * config.num_hidden_layers * config.num_key_value_heads
    bytes_a_place: int = num_values * config.head_dim * model.module.dtype.itemsize
    if model.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(model.device)
        budget = int(free * _GPU_SHARE) - _GPU_WORKSPACE_BYTES - _GPU_GRAPHS_BYTES
        return max(1, budget // bytes_a_place)
    return min(_CPU_PLACES, _CPU_BYTES // bytes_a_place)


def verified_tokens(model: Model) -> int:
    """How many tokens a step computes for little more than one: estimates.

    Until then its time is that of reading the weights. Hopper multiplies more in it.
    """
    if model.device.type != "cuda":
        return 64
    return 160 if torch.cuda.get_device_capability(model.device) >= (9, 0) else 64
