"""Choice of the device that a model runs on. Independent of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from handler.errors import ModelLoadError

__all__ = ["CPU", "Accelerator", "choose_device"]

CPU = "cpu"
MIN_CAPABILITY = (8, 0)
"""Ampere, the first generation with bfloat16 arithmetic and the attention kernels."""
HEADROOM = 1.1
"""Memory for the weights and for one page's activations and cache, as a multiple of the
weights."""
_GIB = 1024**3
_USE_INSTEAD = (
    "use a GPU with bfloat16 and at least 24 GB: A10G (ml.g5), L4 (ml.g6), "
    "L40S (ml.g6e), A100, H100 or newer"
)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """CUDA device, as described by torch."""

    name: str
    capability: tuple[int, int]
    memory_bytes: int


def choose_device(
    accelerators: Sequence[Accelerator],
    index: int,
    *,
    is_mini: bool,
    allow_cpu: bool,
    weights_bytes: int,
) -> str:
    """Return the torch device for engine process `index`: "cpu" or "cuda:N".

    `weights_bytes` is 0 if the weights are not downloaded yet. Raises ModelLoadError,
    which names suitable GPUs, if the model cannot run on the device.
    """
    if not accelerators:
        if is_mini or allow_cpu:
            return CPU
        raise ModelLoadError(
            "no CUDA device was found, and Chandra takes minutes a page without one: "
            f"{_USE_INSTEAD}; or set ALLOW_CPU=1 to load it here all the same, or "
            "leave MODEL_DIR, MODEL_S3_URI and MODEL_ID out for the embedded mini model"
        )
    accelerator = accelerators[index]
    if accelerator.capability < MIN_CAPABILITY:
        if is_mini:
            return CPU
        major, minor = accelerator.capability
        raise ModelLoadError(
            f"{accelerator.name} (compute capability {major}.{minor}, "
            f"{accelerator.memory_bytes / _GIB:.0f} GB) has no bfloat16, which "
            f"Chandra's weights need: {_USE_INSTEAD}"
        )
    needed_bytes = weights_bytes * HEADROOM
    if needed_bytes > accelerator.memory_bytes:
        raise ModelLoadError(
            f"{accelerator.name} has {accelerator.memory_bytes / _GIB:.1f} GiB, but "
            f"weights and one page take {needed_bytes / _GIB:.1f} GiB: {_USE_INSTEAD}"
        )
    return f"cuda:{index}"
