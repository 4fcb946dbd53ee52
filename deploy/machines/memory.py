"""Prediction of how the engine divides a GPU's memory, before a machine starts.

This module copies the numbers of the engine's memory plan for Chandra 1, because
`deploy` may not import the engine. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.machines.catalogue import INSTANCES

__all__ = [
    "FAMILY_GPUS",
    "GPU_MEMORY",
    "KV_CACHE_TOKENS",
    "GpuMemory",
    "PredictedMemoryPlan",
    "gpu_memory_plan",
    "has_plan",
    "memory_lines",
    "memory_plan_of",
]

MIB = 1024**2
GIB = 1024**3

MAX_PIXELS = 3072 * 2048
"""Pixels of the largest page image that Chandra 1 reads."""
GRID = 32
BYTES_PER_TOKEN = 147_456
"""Keys and values of one token: 36 layers, 8 heads of 128 values, two bytes each."""
PROMPT_TOKENS = 1024
EXPECTED_OUTPUT_TOKENS = 500
"""Output tokens of the largest page that must fit, in addition to the drafts."""
MAX_OUTPUT_TOKENS = 8192
ENCODER_BYTES_PER_PIXEL = 143
TEXT_BYTES_PER_TOKEN = 139_264
"""Activations of a forward pass of the text model."""
LOGITS_BYTES_PER_TOKEN = 303_872
ENCODED_BYTES_PER_TOKEN = 32_768
CONTEXT_BYTES = 460 * MIB
LATE_KERNEL_BYTES = 256 * MIB
GRAPH_NODES_BYTES = 8 * MIB
FRAGMENTATION = 0.4
MAX_PAGES = 64
COUNTED_PAGE_TOKENS = 4000

DEFAULT_PREFILL_TOKENS = 1024
DEFAULT_DRAFT_TOKENS = 8

MAX_SIDE = "CHANDRA_MAX_SIDE"
KV_CACHE_TOKENS = "CHANDRA_KV_CACHE_TOKENS"
PREFILL_TOKENS = "CHANDRA_PREFILL_TOKENS"
DRAFT_TOKENS = "CHANDRA_DRAFT_TOKENS"
MAX_SEQUENCES = "CHANDRA_MAX_SEQUENCES"

HEADINGS = (
    *("memory in GiB", "GPU", "total", "weights", "CUDA", "graphs", "image"),
    *("margin", "cache", "tokens", "pages"),
)
NOTE = (
    "of one GPU, for Chandra 1, as the engine divides it at start: sums of tensor "
    "sizes; CUDA and the margin are estimates"
)
OTHER_MODEL = (
    "no memory plan: the engine plans the cache of Chandra 1 with `engine` auto or "
    "native; other models, and `generate`, take memory as they need it"
)
CHANDRA_2 = "chandra-ocr-2"
ENGINE = "CHANDRA_ENGINE"
PROFILE = "MODEL_PROFILE"


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Memory of a GPU, and the parts of the plan that depend on its kind."""

    usable_gib: float
    """Total that CUDA reports, as public error messages of torch quote it."""
    is_hopper: bool = False
    """Hopper or newer: larger cuBLAS workspaces, and more tokens in a step."""

    @property
    def workspace_bytes(self) -> int:
        """Size of the cuBLAS workspaces, with the defaults of torch."""
        return 64 * MIB if self.is_hopper else 2 * (2 * 4096 + 8 * 16) * 1024

    @property
    def verified_tokens(self) -> int:
        """Most tokens that a step with drafts computes."""
        return 160 if self.is_hopper else 64


GPU_MEMORY: Mapping[str, GpuMemory] = {
    "T4": GpuMemory(14.56),
    "A10G": GpuMemory(21.98),
    "L4": GpuMemory(21.96),
    "L40S": GpuMemory(44.39),
    "RTX PRO 6000": GpuMemory(94.97, is_hopper=True),
    "A100": GpuMemory(39.38),
    "A100 80 GB": GpuMemory(79.15),
    "H100": GpuMemory(79.10, is_hopper=True),
    "H200": GpuMemory(139.72, is_hopper=True),
    "B200": GpuMemory(178.35, is_hopper=True),
}
"""Memory by the GPU names of the catalogue and of `FAMILY_GPUS`."""

FAMILY_GPUS: Mapping[str, str] = {
    "p4de": "A100 80 GB",
    "p5e": "H200",
    "p5en": "H200",
    "p6-b200": "B200",
}
"""GPUs of instance families that the catalogue has no prices for."""


@dataclass(frozen=True, slots=True)
class PredictedMemoryPlan:
    """Predicted division of the memory of a GPU by the engine."""

    gpu: str
    usable_bytes: int
    weights_bytes: int
    cuda_bytes: int
    """CUDA context and cuBLAS workspaces."""
    graph_bytes: int
    image_bytes: int
    margin_bytes: int
    room_tokens: int
    """Size of the KV cache that fits into the remaining memory."""
    cache_tokens: int
    """Size of the KV cache: CHANDRA_KV_CACHE_TOKENS, or `room_tokens` as far as the
    pages that are generated together can use them."""
    page_tokens: int
    """Tokens of the largest page, its prompt and an answer of usual length."""
    max_pages: int
    """Pages generated together, if the largest page has room."""

    @property
    def num_pages(self) -> int:
        """Pages generated together; 0 if the largest page has no room."""
        return self.max_pages if self.cache_tokens >= self.page_tokens else 0

    @property
    def num_largest_pages(self) -> float:
        """Number of the largest pages that the cache holds."""
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
) -> PredictedMemoryPlan | None:
    """Predict how the engine divides the memory of a machine's GPU.

    Returns None if the GPU of the instance type is not known. `environment` is the
    container's, see `gpu_memory_plan`.
    """
    gpu = _gpu_of(instance_type)
    return gpu_memory_plan(gpu, weights_gb, environment) if gpu in GPU_MEMORY else None


def _gpu_of(instance_type: str) -> str:
    """Return the name of a machine's GPU; empty for an unknown machine."""
    known = INSTANCES.get(instance_type)
    if known is not None:
        return known.gpu.name
    _, _, rest = instance_type.partition(".")
    return FAMILY_GPUS.get(rest.partition(".")[0], "")


def gpu_memory_plan(
    gpu: str, weights_gb: float, environment: Mapping[str, str]
) -> PredictedMemoryPlan:
    """Predict how the engine divides the memory of a GPU of `GPU_MEMORY`.

    The plan is for CHANDRA_MAX_SEQUENCES pages together if `environment`, the
    container's, has it. Otherwise it is for the largest number of usual pages that fit,
    at most 64 and at least 1. CHANDRA_MAX_SIDE, CHANDRA_PREFILL_TOKENS,
    CHANDRA_DRAFT_TOKENS and CHANDRA_KV_CACHE_TOKENS change the plan too.
    """
    configured = _number(environment, MAX_SEQUENCES)
    candidates = range(MAX_PAGES, 0, -1) if configured is None else (configured,)
    for max_pages in candidates:
        plan = _plan_for(gpu, weights_gb, environment, max_pages)
        usual = min(COUNTED_PAGE_TOKENS, plan.page_tokens)
        if plan.cache_tokens >= max_pages * usual:
            break
    return plan


def _plan_for(
    gpu: str, weights_gb: float, environment: Mapping[str, str], max_pages: int
) -> PredictedMemoryPlan:
    """Return the plan for `max_pages` pages that are generated together."""
    memory = GPU_MEMORY[gpu]
    max_pixels = _max_pixels(environment)
    prompt_tokens = max_pixels // GRID**2 + PROMPT_TOKENS
    prefill_tokens = _number(environment, PREFILL_TOKENS) or DEFAULT_PREFILL_TOKENS
    draft_tokens = _draft_tokens(environment)
    usable_bytes = int(memory.usable_gib * GIB)
    weights_bytes = int(weights_gb * 1e9)
    cuda_bytes = CONTEXT_BYTES + memory.workspace_bytes
    graph_bytes = _graph_bytes(max_pages, draft_tokens, memory.verified_tokens)
    image_bytes = max(
        ENCODER_BYTES_PER_PIXEL * max_pixels,
        ENCODED_BYTES_PER_TOKEN * prompt_tokens + TEXT_BYTES_PER_TOKEN * prefill_tokens,
    )
    margin_bytes = LATE_KERNEL_BYTES + int(FRAGMENTATION * (graph_bytes + image_bytes))
    left = usable_bytes - weights_bytes - cuda_bytes
    left -= graph_bytes + image_bytes + margin_bytes
    room_tokens = max(0, left) // BYTES_PER_TOKEN
    longest = prompt_tokens + MAX_OUTPUT_TOKENS + draft_tokens
    return PredictedMemoryPlan(
        gpu=gpu,
        usable_bytes=usable_bytes,
        weights_bytes=weights_bytes,
        cuda_bytes=cuda_bytes,
        graph_bytes=graph_bytes,
        image_bytes=image_bytes,
        margin_bytes=margin_bytes,
        room_tokens=room_tokens,
        cache_tokens=_number(environment, KV_CACHE_TOKENS)
        or min(room_tokens, max_pages * longest),
        page_tokens=prompt_tokens + EXPECTED_OUTPUT_TOKENS + draft_tokens,
        max_pages=max_pages,
    )


def _graph_bytes(max_pages: int, draft_tokens: int, verified_tokens: int) -> int:
    """Return the memory of the CUDA graphs for up to `max_pages` pages.

    Batch sizes are powers of two, and `max_pages`. Each has a graph without drafts,
    one with half of them and one with all that `verified_tokens` allow. The outputs of
    all graphs are kept, and the activations of the widest one.
    """
    total, widest = 0, 0
    fewest, rows = 1, 1
    while True:
        drafts = min(draft_tokens, max(0, verified_tokens // fewest - 1))
        for width in {1, 1 + (drafts + 1) // 2, 1 + drafts}:
            total += GRAPH_NODES_BYTES + 8 * rows * (2 * width + 3)
            total += LOGITS_BYTES_PER_TOKEN * rows
            widest = max(widest, rows * width)
        if rows >= max_pages:
            break
        fewest, rows = rows + 1, min(2 * rows, max_pages)
    return total + (TEXT_BYTES_PER_TOKEN + LOGITS_BYTES_PER_TOKEN) * widest


def _max_pixels(environment: Mapping[str, str]) -> int:
    """Return the pixels of the largest image, with CHANDRA_MAX_SIDE as its limit."""
    max_side = _number(environment, MAX_SIDE)
    if max_side is None:
        return MAX_PIXELS
    side = -(-max_side // GRID) * GRID
    return min(MAX_PIXELS, side * side)


def _draft_tokens(environment: Mapping[str, str]) -> int:
    if environment.get(DRAFT_TOKENS, "").lower() in ("none", "null"):
        return 0
    return _number(environment, DRAFT_TOKENS) or DEFAULT_DRAFT_TOKENS


def _number(environment: Mapping[str, str], name: str) -> int | None:
    """Return a setting; None if it is missing or not a positive whole number."""
    value = environment.get(name, "")
    return int(value) if value.isdecimal() and int(value) > 0 else None


def has_plan(model_id: str, environment: Mapping[str, str]) -> bool:
    """Return True if the engine has a memory plan for the model; see OTHER_MODEL."""
    profile = environment.get(PROFILE)
    if profile is None:
        # Other weights are assumed to be a fine-tuned Chandra 1.
        profile = "chandra-2" if CHANDRA_2 in model_id else "chandra"
    return profile == "chandra" and environment.get(ENGINE) != "generate"


def memory_lines(
    instance_types: Sequence[str],
    model_id: str,
    weights_gb: float,
    environment: Mapping[str, str],
) -> list[str]:
    """Return a table of memory plans with a line for each instance type, and a note.

    For a model without a memory plan, the only line says so.
    """
    if not has_plan(model_id, environment):
        return [f"({OTHER_MODEL})"]
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
