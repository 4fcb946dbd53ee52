"""Memory plan of a GPU. Independent of torch.

The KV cache gets the memory that weights, CUDA, recorded steps, the largest image and a
margin leave. Terms that are sums of tensor sizes are tested against the tensors that
the code creates at Chandra's size; the other terms are marked as estimates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from handler.errors import ModelLoadError

__all__ = [
    "CONTEXT_BYTES",
    "COUNTED_PAGE_TOKENS",
    "EXPECTED_OUTPUT_TOKENS",
    "LATE_KERNEL_BYTES",
    "MAX_RUNNING_PAGES",
    "PROMPT_TOKENS",
    "MemoryPlan",
    "ModelSizes",
    "StepShape",
    "Workload",
    "plan_memory",
    "read_model_sizes",
    "require_room",
    "shrunk_cache_tokens",
]

MIB = 1024**2
GIB = 1024**3

MAX_RUNNING_PAGES = 64
"""Maximum number of pages generated together on a GPU."""
PROMPT_TOKENS = 1024
"""Upper bound of a prompt's tokens without its image; the longest prompt of chandra-ocr
has 567."""
EXPECTED_OUTPUT_TOKENS = 500
"""A page is admitted if the cache has room for this output, which may grow later."""
COUNTED_PAGE_TOKENS = 4000
"""Cache tokens counted for each page. Most pages use more, so `num_pages` does not
keep a page waiting while the cache has room."""

CONTEXT_BYTES = 460 * MIB
"""CUDA context and the kernels loaded with it; an estimate for every GPU."""
LATE_KERNEL_BYTES = 256 * MIB
"""Kernels that CUDA loads when they run for the first time; an estimate."""
WORKSPACE_STREAMS = 2
"""Streams with a cuBLAS workspace: the main one, and the one that records steps."""
GRAPH_NODES_BYTES = 8 * MIB
"""Kernel parameters of a recorded step of some 2,000 kernels; an estimate."""
FRAGMENTATION = 0.4
"""Memory that torch's allocator reserves beyond what temporary tensors need, because
images differ in size; an estimate."""
ROTARY_COPIES = 3
"""Float32 tensors as large as the queries that the vision encoder's rotary embedding
holds at its peak, rounded up."""

SHRINK_SHARE = 0.15
"""Share of the cache that is given up when a step runs out of memory."""


class StepShape(Protocol):
    """Shape of a recorded step: `num_rows` pages with `width` tokens each."""

    @property
    def num_rows(self) -> int: ...

    @property
    def width(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ModelSizes:
    """Sizes of a Qwen3-VL that decide how much memory it takes."""

    weights_bytes: int
    value_bytes: int
    """Bytes of a weight, an activation and a cached value."""
    num_layers: int
    num_kv_heads: int
    head_dim: int
    hidden_size: int
    intermediate_size: int
    vocabulary_size: int
    vision_hidden_size: int
    vision_intermediate_size: int
    num_deepstack: int
    """Layers of the vision encoder whose states go to the text model."""
    patch_size: int
    merge_size: int
    num_frames: int

    @property
    def bytes_per_token(self) -> int:
        """Bytes of the keys and values of one token in all layers."""
        heads = self.num_layers * self.num_kv_heads
        return 2 * heads * self.head_dim * self.value_bytes

    def image_tokens(self, num_pixels: int) -> int:
        """Return the tokens of an image, one for each square of merged patches."""
        return num_pixels // (self.patch_size * self.merge_size) ** 2

    def text_bytes(self, num_tokens: int) -> int:
        """Return the peak of a forward pass's activations, which is in the MLP.

        It holds eight hidden states, among them embeddings, residual and norm, and the
        MLP's gate, up and their product.
        """
        values = 8 * self.hidden_size + 3 * self.intermediate_size
        return num_tokens * values * self.value_bytes

    def logits_bytes(self, num_tokens: int) -> int:
        """Return the size of [tokens, vocabulary] logits."""
        return num_tokens * self.vocabulary_size * self.value_bytes

    def encoder_bytes(self, num_pixels: int) -> int:
        """Return the peak of encoding an image; FlashAttention stores no scores.

        It holds the patches, the states for the text model, residual and norm, and the
        larger of attention and MLP.
        """
        num_patches = num_pixels // self.patch_size**2
        width = self.vision_hidden_size
        patch_values = 3 * self.num_frames * self.patch_size**2
        results = (self.num_deepstack + 1) * self.hidden_size // self.merge_size**2
        rotary = ROTARY_COPIES * width * 4
        attention = 3 * width * self.value_bytes + rotary
        mlp = 2 * self.vision_intermediate_size * self.value_bytes
        fixed_bytes = (patch_values + results + 2 * width) * self.value_bytes
        return num_patches * (fixed_bytes + max(attention, mlp))

    def encoded_bytes(self, num_tokens: int) -> int:
        """Return the size of an encoded prompt, which is held until its prefill ends.

        It has embeddings, and the states that deepstack adds to the first layers.
        """
        values = (1 + self.num_deepstack) * self.hidden_size
        return num_tokens * values * self.value_bytes

    def graph_bytes(self, shapes: Sequence[StepShape]) -> int:
        """Return the size of recorded steps: outputs of each, and shared activations.

        Outputs are a token for each position, and the logits of each row's first token.
        All other memory is shared, so it is that of the widest step.
        """
        if not shapes:
            return 0
        outputs = sum(
            8 * step.num_rows * (2 * step.width + 3) + self.logits_bytes(step.num_rows)
            for step in shapes
        )
        widest = max(step.num_rows * step.width for step in shapes)
        shared = self.text_bytes(widest) + self.logits_bytes(widest)
        return outputs + shared + GRAPH_NODES_BYTES * len(shapes)


def read_model_sizes(
    config: Any, weights_bytes: int, value_bytes: int = 2
) -> ModelSizes:
    """Read the sizes from a configuration of transformers for Qwen3-VL."""
    text, vision = config.text_config, config.vision_config
    return ModelSizes(
        weights_bytes=weights_bytes,
        value_bytes=value_bytes,
        num_layers=text.num_hidden_layers,
        num_kv_heads=text.num_key_value_heads,
        head_dim=text.head_dim,
        hidden_size=text.hidden_size,
        intermediate_size=text.intermediate_size,
        vocabulary_size=text.vocab_size,
        vision_hidden_size=vision.hidden_size,
        vision_intermediate_size=vision.intermediate_size,
        num_deepstack=len(vision.deepstack_visual_indexes),
        patch_size=vision.patch_size,
        merge_size=vision.spatial_merge_size,
        num_frames=vision.temporal_patch_size,
    )


def _no_shapes(max_rows: int) -> Sequence[StepShape]:
    return ()


@dataclass(frozen=True, slots=True)
class Workload:
    """The largest work of an engine at one time. Sizes are tokens."""

    max_pixels: int
    """Pixels of the largest image."""
    max_output_tokens: int
    expected_output_tokens: int
    """Room for output that the scheduler requires before it admits a page."""
    prefill_tokens: int
    draft_tokens: int = 0
    num_pages: int | None = None
    """Pages generated together; None: as many as the cache has room for."""
    kv_cache_tokens: int | None = None
    """Size of the cache set by the user; None: as large as memory allows."""
    max_cache_bytes: int | None = None
    """Limit of a cache whose size the user does not set."""
    shapes_for: Callable[[int], Sequence[StepShape]] = _no_shapes
    """Returns the shapes of the steps recorded for a number of pages."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Division of a GPU's memory. Sizes are bytes unless they are tokens."""

    available_bytes: int
    weights_bytes: int
    context_bytes: int
    workspace_bytes: int
    graph_bytes: int
    image_bytes: int
    """The larger of the peak of encoding the largest image, and its encoded prompt with
    the activations of a prefill chunk."""
    margin_bytes: int
    cache_bytes: int
    bytes_per_token: int
    cache_tokens: int
    room_tokens: int
    """Largest cache that fits; `cache_tokens` may be smaller."""
    page_tokens: int
    """Tokens of the largest page with its prompt and an expected output. A smaller
    cache could not admit it beside another page, and alone would cut off its output."""
    num_pages: int
    """Pages generated together."""

    @property
    def has_room(self) -> bool:
        """True if the cache holds the largest page."""
        return self.cache_tokens >= self.page_tokens

    @property
    def beside_cache_bytes(self) -> int:
        """Sum of all terms except the cache."""
        return (
            self.weights_bytes
            + self.context_bytes
            + self.workspace_bytes
            + self.graph_bytes
            + self.image_bytes
            + self.margin_bytes
        )

    def to_json(self) -> dict[str, int]:
        """Return the fields, for a log line."""
        return asdict(self)


def plan_memory(
    sizes: ModelSizes,
    workload: Workload,
    *,
    available_bytes: int,
    capability: tuple[int, int],
    is_loaded: bool,
) -> MemoryPlan:
    """Divide `available_bytes` of a GPU of the given compute capability.

    If the workload does not set the number of pages, chooses the largest number from 1
    to MAX_RUNNING_PAGES for which the cache has COUNTED_PAGE_TOKENS for each page, or
    the tokens of the largest page if these are fewer.

    With `is_loaded`, `available_bytes` is the memory left by the weights and CUDA's
    context; otherwise it is the GPU's whole memory. A plan without enough memory raises
    no error: see `require_room`.
    """
    if workload.num_pages is not None:
        candidates: Sequence[int] = (workload.num_pages,)
    else:
        candidates = range(MAX_RUNNING_PAGES, 0, -1)
    plan = None
    for num_pages in candidates:
        plan = _plan_for(
            sizes, workload, num_pages, available_bytes, capability, is_loaded
        )
        expected = min(COUNTED_PAGE_TOKENS, plan.page_tokens)
        if plan.cache_tokens >= num_pages * expected:
            break
    assert plan is not None
    return plan


def _plan_for(
    sizes: ModelSizes,
    workload: Workload,
    num_pages: int,
    available_bytes: int,
    capability: tuple[int, int],
    is_loaded: bool,
) -> MemoryPlan:
    """Divide the memory for an engine that runs `num_pages` pages together."""
    shapes = workload.shapes_for(num_pages)
    prompt_tokens = sizes.image_tokens(workload.max_pixels) + PROMPT_TOKENS
    page_tokens = prompt_tokens + workload.expected_output_tokens
    page_tokens += workload.draft_tokens
    weights_bytes = 0 if is_loaded else sizes.weights_bytes
    context_bytes = 0 if is_loaded else CONTEXT_BYTES
    workspace_bytes = WORKSPACE_STREAMS * _workspace_bytes(capability)
    graph_bytes = sizes.graph_bytes(shapes)
    # A step encodes an image or computes a prefill chunk, never both.
    image_bytes = max(
        sizes.encoder_bytes(workload.max_pixels),
        sizes.encoded_bytes(prompt_tokens) + sizes.text_bytes(workload.prefill_tokens),
    )
    margin_bytes = LATE_KERNEL_BYTES
    margin_bytes += int(FRAGMENTATION * (graph_bytes + image_bytes))
    left = available_bytes - sum(
        (weights_bytes, context_bytes, workspace_bytes, graph_bytes),
        image_bytes + margin_bytes,
    )
    room_tokens = max(0, left) // sizes.bytes_per_token
    cache_tokens = workload.kv_cache_tokens
    if cache_tokens is None:
        longest = prompt_tokens + workload.max_output_tokens + workload.draft_tokens
        cache_tokens = min(room_tokens, num_pages * longest)
        if workload.max_cache_bytes is not None:
            max_cache_tokens = workload.max_cache_bytes // sizes.bytes_per_token
            cache_tokens = min(cache_tokens, max(max_cache_tokens, page_tokens))
    return MemoryPlan(
        available_bytes=available_bytes,
        weights_bytes=weights_bytes,
        context_bytes=context_bytes,
        workspace_bytes=workspace_bytes,
        graph_bytes=graph_bytes,
        image_bytes=image_bytes,
        margin_bytes=margin_bytes,
        cache_bytes=cache_tokens * sizes.bytes_per_token,
        bytes_per_token=sizes.bytes_per_token,
        cache_tokens=cache_tokens,
        room_tokens=room_tokens,
        page_tokens=page_tokens,
        num_pages=num_pages,
    )


def _workspace_bytes(capability: tuple[int, int]) -> int:
    """Return torch's default size of the cuBLAS workspace of one stream.

    Source: `_parseChosenWorkspaceSize` of torch 2.10 to 2.13. The size is 2 x 4096 KiB
    and 8 x 16 KiB, and 8 x 4096 KiB from Hopper on.
    """
    return 32 * MIB if capability >= (9, 0) else (2 * 4096 + 8 * 16) * 1024


def require_room(plan: MemoryPlan, device: str) -> None:
    """Raise ModelLoadError if the cache is too small or does not fit."""
    if plan.room_tokens < plan.page_tokens:
        raise ModelLoadError(
            f"{device} has room for a cache of {plan.room_tokens:,} tokens, but the "
            f"largest page takes {plan.page_tokens:,}: of "
            f"{plan.available_bytes / GIB:.1f} GiB, "
            f"{plan.beside_cache_bytes / GIB:.1f} GiB are for images, recorded steps "
            "and other data; use a GPU with more memory, end other programs "
            "on it, lower max_side, or use a smaller model"
        )
    if plan.cache_tokens > plan.room_tokens:
        raise ModelLoadError(
            f"kv_cache_tokens is {plan.cache_tokens:,}, but {device} has room for "
            f"{plan.room_tokens:,}: set that, or leave kv_cache_tokens out"
        )
    if not plan.has_room:
        raise ModelLoadError(
            f"kv_cache_tokens is {plan.cache_tokens:,}, but the largest page takes "
            f"{plan.page_tokens:,}: raise kv_cache_tokens to at least that, lower "
            "max_side, or leave kv_cache_tokens out"
        )


def shrunk_cache_tokens(
    cache_tokens: int, *, page_tokens: int, image_tokens: int
) -> int | None:
    """Return the size of the smaller cache after a step ran out of memory.

    The cache gives up 15 %, but at least `image_tokens`, which take as much memory as
    encoding the largest image. It never holds less than `page_tokens`. Returns
    None if the cache cannot become smaller.
    """
    given_up = max(1, int(SHRINK_SHARE * cache_tokens), image_tokens)
    smaller = max(cache_tokens - given_up, page_tokens)
    return smaller if 0 < smaller < cache_tokens else None
