"""Predict how the engine divides a GPU's memory, before a machine runs.

This is a copy in numbers of the engine's memory plan for Chandra 1, because `deploy`
may not import the engine. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.machines.catalogue import INSTANCES

__all__ = [
    "GPU_MEMORY",
    "KV_CACHE_TOKENS",
    "GpuMemory",
    "MemoryPlan",
    "memory_lines",
    "memory_plan_of",
]

MIB = 1024**2
GIB = 1024**3

MAX_PIXELS = 3072 * 2048
"""Pixels of the largest page that Chandra 1 sees."""
GRID = 32
BYTES_PER_TOKEN = 147_456
"""Keys and values of one token: 36 layers, 8 heads of 128 values, two bytes each."""
PROMPT_TOKENS = 1024
ANSWER_TOKENS = 508
"""Tokens of an expected answer, drafts included."""
ENCODER_BYTES_PER_PIXEL = 143
PREFILL_BYTES = 1024 * 139_264
ENCODED_BYTES_PER_TOKEN = 32_768
CONTEXT_BYTES = 460 * MIB
LATE_KERNEL_BYTES = 256 * MIB
FRAGMENTATION = 0.4
MAX_SEQUENCES = 64
SEQUENCE_TOKENS = 4000

MAX_SIDE = "CHANDRA_MAX_SIDE"
KV_CACHE_TOKENS = "CHANDRA_KV_CACHE_TOKENS"

HEADINGS = (
    *("memory in GiB", "GPU", "total", "weights", "CUDA", "graphs", "image"),
    *("margin", "cache", "tokens", "pages"),
)
NOTE = (
    "of one GPU, for Chandra 1, as the engine divides it at start: sums of tensor "
    "sizes; CUDA and the margin are estimates"
)


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Memory of a GPU, and the terms that depend on its kind."""

    usable_gib: float
    """Total that CUDA reports, from public error messages of torch."""
    workspace_mib: float
    graph_mib: float
    """Recorded steps for the pages that fit beside Chandra 1."""


GPU_MEMORY: Mapping[str, GpuMemory] = {
    "T4": GpuMemory(14.56, 16.25, 28.7),
    "A10G": GpuMemory(21.98, 16.25, 125.5),
    "L4": GpuMemory(21.96, 16.25, 125.5),
    "L40S": GpuMemory(44.39, 16.25, 267.2),
    "RTX PRO 6000": GpuMemory(94.97, 64.0, 400.2),
    "A100": GpuMemory(39.38, 16.25, 264.6),
    "H100": GpuMemory(79.10, 64.0, 400.2),
}
"""GPUs by their name in the catalogue."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Division of one GPU's memory. Sizes are bytes unless they are tokens."""

    gpu: str
    usable_bytes: int
    weights_bytes: int
    cuda_bytes: int
    """Context and cuBLAS workspaces."""
    graph_bytes: int
    image_bytes: int
    margin_bytes: int
    room_tokens: int
    """The memory that is left, in tokens of the cache."""
    cache_tokens: int
    """`room_tokens`, or the value of CHANDRA_KV_CACHE_TOKENS."""
    page_tokens: int
    """The largest page with its prompt and an expected answer."""

    @property
    def num_pages(self) -> int:
        """Pages generated together; 0 if the largest page does not fit."""
        if self.cache_tokens < self.page_tokens:
            return 0
        return min(MAX_SEQUENCES, self.cache_tokens // SEQUENCE_TOKENS)

    @property
    def num_largest_pages(self) -> float:
        return self.cache_tokens / self.page_tokens

    def to_json(self) -> dict[str, str | int]:
        return {
            "gpu": self.gpu,
            "usable_bytes": self.usable_bytes,
            "weights_bytes": self.weights_bytes,
            "cuda_bytes": self.cuda_bytes,
            "graph_bytes": self.graph_bytes,
            "image_bytes": self.image_bytes,
            "margin_bytes": self.margin_bytes,
            "cache_bytes": self.cache_tokens * BYTES_PER_TOKEN,
            "cache_tokens": self.cache_tokens,
            "page_tokens": self.page_tokens,
            "pages": self.num_pages,
        }


def memory_plan_of(
    instance_type: str, weights_gb: float, environment: Mapping[str, str]
) -> MemoryPlan | None:
    """Divide the memory of a machine's GPU; return None for an unknown machine.

    `environment` is the container's; CHANDRA_MAX_SIDE makes the largest image smaller.
    """
    known = INSTANCES.get(instance_type)
    memory = GPU_MEMORY.get(known.gpu.name) if known else None
    if known is None or memory is None:
        return None
    prompt_tokens = _max_pixels(environment) // GRID**2 + PROMPT_TOKENS
    usable_bytes = int(memory.usable_gib * GIB)
    weights_bytes = int(weights_gb * 1e9)
    cuda_bytes = CONTEXT_BYTES + int(memory.workspace_mib * MIB)
    graph_bytes = int(memory.graph_mib * MIB)
    image_bytes = max(
        ENCODER_BYTES_PER_PIXEL * _max_pixels(environment),
        ENCODED_BYTES_PER_TOKEN * prompt_tokens + PREFILL_BYTES,
    )
    margin_bytes = LATE_KERNEL_BYTES + int(FRAGMENTATION * (graph_bytes + image_bytes))
    left = usable_bytes - weights_bytes - cuda_bytes
    left -= graph_bytes + image_bytes + margin_bytes
    room_tokens = max(0, left) // BYTES_PER_TOKEN
    return MemoryPlan(
        gpu=known.gpu.name,
        usable_bytes=usable_bytes,
        weights_bytes=weights_bytes,
        cuda_bytes=cuda_bytes,
        graph_bytes=graph_bytes,
        image_bytes=image_bytes,
        margin_bytes=margin_bytes,
        room_tokens=room_tokens,
        cache_tokens=_number(environment, KV_CACHE_TOKENS) or room_tokens,
        page_tokens=prompt_tokens + ANSWER_TOKENS,
    )


def _max_pixels(environment: Mapping[str, str]) -> int:
    max_side = _number(environment, MAX_SIDE)
    if max_side is None:
        return MAX_PIXELS
    side = -(-max_side // GRID) * GRID
    return min(MAX_PIXELS, side * side)


def _number(environment: Mapping[str, str], name: str) -> int | None:
    """Return a setting; None if it is absent or not a positive number."""
    value = environment.get(name, "")
    return int(value) if value.isdecimal() and int(value) > 0 else None


def memory_lines(
    instance_types: Sequence[str], weights_gb: float, environment: Mapping[str, str]
) -> list[str]:
    """Return a table with a line for each instance type."""
    rows: list[tuple[str, ...]] = [HEADINGS]
    for name in instance_types:
        plan = memory_plan_of(name, weights_gb, environment)
        if plan is None:
            rows.append((name, "not known here", *[""] * 9))
            continue
        sizes = (
            plan.usable_bytes,
            plan.weights_bytes,
            plan.cuda_bytes,
            plan.graph_bytes,
            plan.image_bytes,
            plan.margin_bytes,
            plan.cache_tokens * BYTES_PER_TOKEN,
        )
        gib = [f"{size / GIB:.1f}" for size in sizes]
        rows.append(
            (name, plan.gpu, *gib, f"{plan.cache_tokens:,}", str(plan.num_pages))
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        name, gpu, *numbers = row
        cells = [name.ljust(widths[0]), gpu.ljust(widths[1])]
        cells += [n.rjust(w) for n, w in zip(numbers, widths[2:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return [*lines, f"({NOTE})"]
