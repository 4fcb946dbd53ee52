"""Measurements of the vision encoder: patch embedding, attention and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from bench.device.hardware import NEEDS_CUDA, Hardware
from bench.runs.systems import MeasuredModel
from handler.engine.device.encoder import Encoder, TorchPrompt
from handler.engine.device.vision.attention import Attend
from handler.engine.request import EngineRequest
from handler.schema import Page

__all__ = ["BACKENDS", "SIZES", "encode_as_served", "time_backend", "time_patches"]

BACKENDS = {
    "torch's choice": None,
    "flash": SDPBackend.FLASH_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}
_CUDA_ONLY_BACKENDS = (SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION)
SIZES = {
    "chandra": {
        "A4": (1600, 2240),
        "letter": (1632, 2112),
        "largest": (3072, 2048),
    },
    "tiny": {"A4": (256, 320), "letter": (320, 256), "largest": (512, 640)},
}
"""Page sizes in pixels by geometry, in the order of encoding."""
_NUM_PATCHES = 1024
_PILOT_PATCHES = 16
_SLOW_SECONDS = 4.0


@torch.inference_mode()
def time_patches(
    measured_model: MeasuredModel, hardware: Hardware, seconds: float
) -> dict[str, Any]:
    """Time Conv3d and the model's linear layer over 1,024 patches, and compare them.

    The engine does not use the convolution; it is built from the layer's weights. If
    sixteen patches show that 1,024 would take over four seconds, their time is
    projected.
    """
    vision = measured_model.model.module.config.vision_config
    kernel = (vision.temporal_patch_size, vision.patch_size, vision.patch_size)
    projection = measured_model.model.module.model.visual.patch_embed.proj
    weight = projection.weight
    convolution = nn.Conv3d(3, len(weight), kernel, kernel, device="meta")
    convolution.weight, convolution.bias = weight, projection.bias
    patches = torch.randn(_NUM_PATCHES, weight[0].numel(), device=measured_model.device)
    patches = patches.to(weight.dtype)

    def convolve(count: int = _NUM_PATCHES) -> torch.Tensor:
        volumes = patches[:count].view(count, 3, *kernel)
        output: torch.Tensor = convolution(volumes)
        return output.view(count, -1)

    def multiply() -> torch.Tensor:
        output: torch.Tensor = projection(patches)
        return output

    result: dict[str, Any] = {"patches": _NUM_PATCHES, "is_projected": False}
    result["linear_ms"] = _time_calls(multiply, hardware, seconds / 2)["mean_ms"]
    pilot = _time_calls(lambda: convolve(_PILOT_PATCHES), hardware, 0.0)["mean_ms"]
    projected = pilot * _NUM_PATCHES / _PILOT_PATCHES
    if projected > 1000 * _SLOW_SECONDS:
        few = convolve(_PILOT_PATCHES)
        result |= {"conv3d_ms": projected, "is_projected": True}
    else:
        few = convolve()
        result["conv3d_ms"] = _time_calls(convolve, hardware, seconds / 2)["mean_ms"]
    expected = multiply()[: len(few)].float()
    error = (few.float() - expected).abs().max() / expected.abs().max()
    return result | {"largest_difference": float(error)}


def time_backend(
    measured_model: MeasuredModel, hardware: Hardware, backend: str, seconds: float
) -> dict[str, Any]:
    """Time the engine's encoder with one attention backend.

    The first call of each page size is timed separately, because a backend that
    compiles for each size is slow there.
    """
    chosen = BACKENDS[backend]
    if not hardware.is_cuda and chosen in _CUDA_ONLY_BACKENDS:
        return {"skipped": NEEDS_CUDA}

    def attend(
        query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
    ) -> torch.Tensor:
        with nullcontext() if chosen is None else sdpa_kernel(chosen):
            return scaled_dot_product_attention(query, key, value)

    result = _time_encoder(measured_model, hardware, attend, seconds)
    if chosen is None:
        result["choice"] = _find_backend(
            measured_model, SIZES[measured_model.geometry.name]["A4"]
        )
    return result


def encode_as_served(
    measured_model: MeasuredModel, hardware: Hardware, seconds: float
) -> dict[str, Any]:
    """Time the engine's own encoder with the attention kernel that it chooses."""
    return _time_encoder(measured_model, hardware, None, seconds)


def _time_encoder(
    measured_model: MeasuredModel,
    hardware: Hardware,
    attend: Attend | None,
    seconds: float,
) -> dict[str, Any]:
    """Time the encoding of each size, including patching, and measure its peak memory.

    `slices` and `longest_slice_ms` are of an encoding that synchronises after each
    slice.
    """
    encoder = Encoder(measured_model.model, attend=attend)
    result: dict[str, Any] = {}
    sizes = SIZES[measured_model.geometry.name]
    for name, size in sizes.items():
        prompt = encoder.tokenise(
            EngineRequest(
                name,
                name,
                make_grey_page(size),
                measured_model.pages[0].request.prompt,
                1,
            )
        )

        def encode(prompt: TorchPrompt = prompt) -> None:
            prompt.release_image()
            encoder.finish_encoding(prompt)

        hardware.release()
        before = hardware.read_memory()
        times = _time_calls(encode, hardware, seconds / len(sizes))
        after = hardware.read_memory()
        prompt.release_image()
        slices = _time_slices(encoder, prompt, hardware)
        prompt.release_image()
        result[name] = {
            "pixels": list(size),
            "patches": prompt.num_patches,
            **times,
            "slices": len(slices),
            "longest_slice_ms": max(slices),
            "peak_bytes": after["peak_allocated"] - before["allocated"]
            if before and after
            else None,
        }
    return result


def _time_slices(
    encoder: Encoder, prompt: TorchPrompt, hardware: Hardware
) -> list[float]:
    """Return the milliseconds of each slice of an encoding."""
    times: list[float] = []
    is_complete = False
    while not is_complete:
        begin = time.perf_counter()
        is_complete = encoder.encode(prompt)
        hardware.synchronize()
        times.append(1000 * (time.perf_counter() - begin))
    return times


def make_grey_page(size: tuple[int, int]) -> Page:
    """Return a page of grey pixels, [height, width, 3] uint8."""
    width, height = size
    return Page(1, width, height, width, height, bytes([127]) * (width * height * 3))


def _find_backend(measured_model: MeasuredModel, size: tuple[int, int]) -> str:
    """Return the backend that torch chooses for the encoder's attention.

    The operator is private to torch, so a missing one is not an error.
    """
    vision = measured_model.model.module.config.vision_config
    heads = vision.num_heads
    patch = vision.patch_size
    shape = (1, heads, size[0] * size[1] // patch**2, vision.hidden_size // heads)
    query = torch.empty(shape, dtype=torch.bfloat16, device=measured_model.device)
    try:
        number = torch._fused_sdp_choice(query, query, query)
    except (AttributeError, RuntimeError) as error:
        return f"unknown ({type(error).__name__})"
    names = {int(backend.value): name for name, backend in _backends().items()}
    return names.get(int(number), str(number))


def _backends() -> dict[str, Any]:
    members: dict[str, Any] = dict(SDPBackend.__members__)
    return members


def _time_calls(
    compute: Callable[[], Any], hardware: Hardware, seconds: float
) -> dict[str, Any]:
    """Return milliseconds of the first and second call and the later mean."""
    calls: list[float] = []
    end = time.perf_counter() + seconds
    while len(calls) < 3 or (time.perf_counter() < end and len(calls) < 50):
        hardware.synchronize()
        begin = time.perf_counter()
        compute()
        hardware.synchronize()
        calls.append(1000 * (time.perf_counter() - begin))
    return {
        "first_ms": calls[0],
        "second_ms": calls[1],
        "mean_ms": sum(calls[1:]) / len(calls[1:]),
    }
