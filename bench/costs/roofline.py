"""Roofline model: lower bounds for the time of a forward pass.

A decode step takes at least the time to read the weights and the cache, and a prefill
the time to multiply. Rates come from data sheets, or from measurements made elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "A10G",
    "GPUS",
    "H200",
    "Costs",
    "Decode",
    "DeviceRates",
    "GpuDataSheet",
    "Prefill",
    "Work",
]

GIB = 1024**3


@dataclass(frozen=True, slots=True)
class DeviceRates:
    """Bytes and bfloat16 operations of a device per second."""

    bandwidth: float
    flops: float


BANDWIDTH_SHARE = 0.85
"""Share of a data sheet's bandwidth that long reads reach; an estimate."""


@dataclass(frozen=True, slots=True)
class GpuDataSheet:
    """GPU with the values of NVIDIA's data sheet, except for the memory."""

    name: str
    memory_bytes: float
    """Total memory that CUDA reports, taken from public error messages of torch."""
    bandwidth: float
    """Memory bandwidth in bytes per second."""
    peak_flops: float
    """Dense bfloat16 operations per second: half of the value with sparsity."""
    flops_share: float
    """Share of the peak that large matrix products reach; an estimate."""
    capability: tuple[int, int] = (8, 0)

    @property
    def rates(self) -> DeviceRates:
        """Return the estimated rates of a well-optimised forward pass."""
        return DeviceRates(
            self.bandwidth * BANDWIDTH_SHARE, self.peak_flops * self.flops_share
        )


GPUS = {
    gpu.name: gpu
    for gpu in (
        # "NVIDIA A10G" data sheet: 70 TFLOPS dense; the A10 has 125.
        GpuDataSheet("A10G", 21.98 * GIB, 600e9, 70e12, 0.60, (8, 6)),
        # "NVIDIA L4 Tensor Core GPU" data sheet: 242 TFLOPS with sparsity.
        GpuDataSheet("L4", 21.96 * GIB, 300e9, 121e12, 0.60, (8, 9)),
        # "NVIDIA L40S" data sheet: 733 TFLOPS with sparsity, 362 without.
        GpuDataSheet("L40S", 44.39 * GIB, 864e9, 362e12, 0.60, (8, 9)),
        # "NVIDIA A100 Tensor Core GPU" data sheet: 80 GB, SXM.
        GpuDataSheet("A100", 79.15 * GIB, 2039e9, 312e12, 0.60, (8, 0)),
        # "NVIDIA H100 Tensor Core GPU" data sheet: SXM, 1,979 TFLOPS with sparsity.
        GpuDataSheet("H100", 79.10 * GIB, 3350e9, 989e12, 0.50, (9, 0)),
        # "NVIDIA H200 Tensor Core GPU" data sheet: SXM.
        GpuDataSheet("H200", 139.8 * GIB, 4800e9, 989e12, 0.50, (9, 0)),
        # "NVIDIA DGX B200" data sheet, an eighth of 64 TB/s and of 36 PFLOPS with
        # sparsity. That of HGX B200 rounds the bandwidth down to 7.7 TB/s.
        GpuDataSheet("B200", 178.3 * GIB, 8000e9, 2250e12, 0.50, (10, 0)),
    )
}
"""Data sheets by name, in order of bandwidth except for the L4."""
A10G = GPUS["A10G"].rates
H200 = GPUS["H200"].rates


@dataclass(frozen=True, slots=True)
class Decode:
    """Forward pass over the last tokens of some pages."""

    num_rows: int
    """Number of pages."""
    num_tokens: int
    """Number of tokens over all pages: the last ones and the drafts."""
    num_cached: int
    """Number of cache positions that are read, over all pages."""


@dataclass(frozen=True, slots=True)
class Prefill:
    """Forward pass over a chunk of the prompt of one page."""

    start: int
    count: int
    num_patches: int = 0
    """Number of image patches, if the image is encoded for this forward pass."""
    is_last: bool = True

    @property
    def end(self) -> int:
        return self.start + self.count


Work = Decode | Prefill


@dataclass(frozen=True, slots=True)
class Costs:
    """Numbers of parameters by part of a model, and the sizes of its attention."""

    layers: int
    lm_head: int
    vision_blocks: int
    vision_mergers: int
    total: int
    num_layers: int
    attention_width: int
    """Query heads times head_dim."""
    cache_bytes: int
    """Bytes of the keys and values of one token in all layers."""
    vision_width: int
    vision_layers: int
    merged: int
    """Number of patches that are merged into one token."""
    value_bytes: int = 2

    @classmethod
    def of_module(cls, module: Any) -> Costs:
        """Return the costs of a Qwen3-VL module of transformers."""
        text, vision = module.config.text_config, module.config.vision_config
        visual = module.model.visual
        num_bytes = module.lm_head.weight.dtype.itemsize
        heads = 2 * text.num_hidden_layers * text.num_key_value_heads
        return cls(
            layers=_count(module.model.language_model.layers),
            lm_head=_count(module.lm_head),
            vision_blocks=_count(visual.blocks),
            vision_mergers=_count(visual.merger) + _count(visual.deepstack_merger_list),
            total=_count(module),
            num_layers=text.num_hidden_layers,
            attention_width=text.num_attention_heads * text.head_dim,
            cache_bytes=heads * text.head_dim * num_bytes,
            vision_width=vision.hidden_size,
            vision_layers=vision.depth,
            merged=vision.spatial_merge_size**2,
            value_bytes=num_bytes,
        )

    def seconds(self, work: Work, rates: DeviceRates) -> float:
        """Return the minimum seconds of a forward pass."""
        if isinstance(work, Prefill):
            return self.prefill_flops(work) / rates.flops
        parameters = self.layers + self.lm_head
        read = parameters * self.value_bytes + work.num_cached * self.cache_bytes
        flops = 2 * parameters * work.num_tokens
        return max(read / rates.bandwidth, flops / rates.flops)

    def prefill_flops(self, work: Prefill) -> float:
        """Return the FLOPs of a prefill, with causal attention and the image."""
        attention = 2 * self.attention_width * self.num_layers
        text = 2 * self.layers * work.count
        text += attention * (work.end**2 - work.start**2)
        return text + self._vision_flops(work.num_patches)

    def _vision_flops(self, num_patches: int) -> float:
        return (
            2 * self.vision_blocks * num_patches
            + 2 * self.vision_mergers * num_patches // self.merged
            + 4 * num_patches**2 * self.vision_width * self.vision_layers
        )

    def seconds_together(
        self, pages: Iterable[tuple[Prefill, int]], rates: DeviceRates
    ) -> float:
        """Return the minimum seconds for pages that start together.

        A page is its prompt and its number of answer tokens. The prefill gives the
        first token, and each further token takes a step.
        """
        seconds = 0.0
        alive = []
        for prompt, num_answer_tokens in pages:
            seconds += self.seconds(prompt, rates)
            alive.append((prompt.count, num_answer_tokens))
        for step in range(
            1, max((num_answer_tokens for _, num_answer_tokens in alive), default=0)
        ):
            alive = [page for page in alive if page[1] > step]
            cached = sum(length + step for length, _ in alive)
            work = Decode(len(alive), len(alive), cached)
            seconds += self.seconds(work, rates)
        return seconds


def _count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
