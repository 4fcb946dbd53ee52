"""Attention of many pages in one step, each to its own KV segment."""

from __future__ import annotations

import functools
import math
import mmap
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

__all__ = [
    "KVCache",
    "PageSpan",
    "Step",
    "attend",
    "attend_by_operator",
    "attend_page_by_page",
    "has_operator",
]


class KVCache:
    """Keys and values of all layers.

    `layers` holds one tensor for each layer, [num_positions, 2 * kv_heads, head_dim].
    The keys of a position precede its values, so that one copy writes both. `keys` and
    `values` are views of these tensors, [num_positions, kv_heads, head_dim] each.
    """

    def __init__(
        self, config: Any, num_positions: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        num_heads = config.num_key_value_heads
        shape = (num_positions, 2 * num_heads, config.head_dim)
        zeros = _map_zeros if device.type == "cpu" else torch.zeros
        self.layers = [
            zeros(shape, dtype=dtype, device=device)
            for _ in range(config.num_hidden_layers)
        ]
        self.keys = [layer.narrow(1, 0, num_heads) for layer in self.layers]
        self.values = [layer.narrow(1, num_heads, num_heads) for layer in self.layers]
        self.num_positions = num_positions

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy `length` positions in all layers; source and target may overlap."""
        for layer in self.layers:
            copied = layer[source : source + length].clone()
            layer[target : target + length] = copied


def _map_zeros(
    shape: tuple[int, ...], *, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Return zeros on a processor that take memory and time only when they are used."""
    memory = mmap.mmap(
        -1,
        math.prod(shape) * dtype.itemsize,
        flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
    )
    return torch.frombuffer(memory, dtype=dtype).view(shape).to(device)


@dataclass(slots=True)
class PageSpan:
    """Part of a step that belongs to one page, as numbers on the host."""

    begin: int
    end: int
    """The page's tokens are `begin` to `end` of the T tokens of the step."""
    start: int
    used: int
    """Its KV segment begins at cache position `start`; `used` positions of it hold keys
    and values, including those of the step's tokens."""
    visible: torch.Tensor | None = field(default=None, repr=False)
    """[group * n, used] mask of the keys that each query sees, made once for all
    layers."""


@dataclass(slots=True)
class Step:
    """Input of one forward pass: T tokens of N pages, one page after the other.

    The index tensors are int32, as the CUDA operator requires, on the model's device.
    """

    cache: KVCache
    cache_positions: torch.Tensor
    """[T] int64: the cache position of each token's keys and values."""
    query_starts: torch.Tensor
    """[N + 1]: the index of each page's first token, then T."""
    segment_starts: torch.Tensor
    """[N + 1]: the first position of each page's segment; the last value is unused."""
    num_used: torch.Tensor
    """[N]: positions of the segment in use, including those of the step's tokens."""
    max_queries: int
    """Maximum tokens of a page in this step."""
    max_used: int
    """Upper bound of `num_used`; a constant in a recorded step."""
    use_operator: bool = False
    """True: use the CUDA operator; False: use torch's attention, page by page."""
    spans: list[PageSpan] | None = field(default=None, init=False, repr=False)
    """[N] the same numbers on the host. If None, attention page by page reads them from
    the device, once for all layers."""


@functools.cache
def has_operator(device: torch.device, dtype: torch.dtype) -> bool:
    """Return True if torch's FlashAttention runs: half precision on sm80 or newer."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    step: Step,
    scaling: float,
) -> torch.Tensor:
    """Attend causally, each page's tokens to its own segment of the cache.

    Takes [T, heads, head_dim] queries and [num_positions, kv_heads, head_dim] keys and
    values of one layer, and returns [T, heads, head_dim]. Only the last dimension must
    be contiguous.
    """
    attend_with = attend_by_operator if step.use_operator else attend_page_by_page
    return attend_with(query, keys, values, step, scaling)


def attend_by_operator(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    step: Step,
    scaling: float,
) -> torch.Tensor:
    """Attend with the CUDA operator; segments may be in any order, with gaps.

    Shapes are those of `attend`; see `has_operator`.
    """
    output: torch.Tensor
    output, *_ = torch.ops.aten._flash_attention_forward(
        query,
        keys,
        values,
        step.query_starts,
        step.segment_starts,
        step.max_queries,
        step.max_used,
        0.0,  # dropout
        True,  # causal, aligned to the bottom right
        False,  # no debug mask
        scale=scaling,
        seqused_k=step.num_used,
    )
    return output


def attend_page_by_page(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    step: Step,
    scaling: float,
) -> torch.Tensor:
    """Attend with one call of torch's attention for each page, as on a processor.

    Shapes are those of `attend`. Stores the spans of the pages in `step` if it has
    none. Padding all pages to one call would copy their caches:
    it takes as long in bfloat16 and six times as long in float32.
    """
    if step.spans is None:
        step.spans = _read_spans(step)
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    for span in step.spans:
        output[span.begin : span.end] = _attend_span(
            query[span.begin : span.end].transpose(0, 1),
            keys[span.start : span.start + span.used].transpose(0, 1),
            values[span.start : span.start + span.used].transpose(0, 1),
            span,
            scaling,
        ).transpose(0, 1)
    return output


def _read_spans(step: Step) -> list[PageSpan]:
    return [
        PageSpan(begin, end, start, used)
        for (begin, end), start, used in zip(
            pairwise(step.query_starts.tolist()),
            step.segment_starts.tolist()[:-1],
            step.num_used.tolist(),
            strict=True,
        )
    ]


def _attend_span(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    span: PageSpan,
    scaling: float,
) -> torch.Tensor:
    """Attend to [kv_heads, m, d] with [heads, n, d] queries, the last n of m tokens.

    Stores the mask in `span` for the next layers.
    """
    num_heads, count, size = query.shape
    num_kv_heads, used, _ = keys.shape
    group = num_heads // num_kv_heads
    # Queries that share a key become rows of one head.
    rows = query.reshape(num_kv_heads, group * count, size)
    if count > 1 and span.visible is None:
        visible = torch.ones(count, used, dtype=torch.bool, device=query.device)
        span.visible = visible.tril(used - count).repeat(group, 1)
    attended = scaled_dot_product_attention(
        rows[None], keys[None], values[None], attn_mask=span.visible, scale=scaling
    )
    return attended[0].reshape(num_heads, count, size)
