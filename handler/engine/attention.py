"""Attention of many pages in one row of tokens, each to its own cache segment.

Registered with transformers under a name, so that its text model runs as it is.
What a forward is about travels as the keyword argument `step`.
"""

from __future__ import annotations

import functools
import math
import mmap
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

__all__ = [
    "NAME",
    "KVPool",
    "Step",
    "attend_by_operator",
    "attend_page_by_page",
    "has_operator",
    "register",
]

NAME = "segments"


class KVPool:
    """Keys and values of every layer: [num_places, kv_heads, head_dim] each."""

    def __init__(
        self, config: Any, num_places: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (num_places, config.num_key_value_heads, config.head_dim)
        layers = range(config.num_hidden_layers)
        zeros = _untouched_zeros if device.type == "cpu" else torch.zeros
        self.keys = [zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.values = [zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.num_places = num_places

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy places; the two stretches may overlap."""
        for places in (*self.keys, *self.values):
            held = places[source : source + length].clone()
            places[target : target + length] = held


def _untouched_zeros(
    shape: tuple[int, ...], *, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """Zeros on a processor that take memory, and the time to clear it, when used."""
    memory = mmap.mmap(
        -1,
        math.prod(shape) * dtype.itemsize,
        flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
    )
    return torch.frombuffer(memory, dtype=dtype).view(shape).to(device)


@dataclass(slots=True)
class Step:
    """One forward: T tokens of N pages, one page after the other.

    The index tensors are int32, as the CUDA operator reads them, and lie where the
    model does.
    """

    pool: KVPool
    places: torch.Tensor
    """[T] int64, where the keys and values of these tokens go."""
    query_starts: torch.Tensor
    """[N + 1] where each page's tokens begin among the T, and T."""
    segment_starts: torch.Tensor
    """[N + 1] where each page's cache begins; the last one says nothing."""
    num_used: torch.Tensor
    """[N] places of it in use, these tokens included."""
    max_queries: int
    """No page has more tokens in this forward."""
    max_used: int
    """No page uses more places; a bound, and constant in a captured graph."""
    use_operator: bool | None = None
    """Whether attention runs in the CUDA operator; None: where there is one."""


def register() -> None:
    """Make the name known to transformers; again changes nothing."""
    AttentionInterface.register(NAME, _segment_attention)
    AttentionMaskInterface.register(NAME, _no_mask)


def _no_mask(*args: Any, **kwargs: Any) -> None:
    return None


def _segment_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    step: Step,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' signature: [1, heads, T, head_dim] in, [1, T, heads, d] out."""
    keys = step.pool.keys[module.layer_idx]
    values = step.pool.values[module.layer_idx]
    keys.index_copy_(0, step.places, key[0].transpose(0, 1))
    values.index_copy_(0, step.places, value[0].transpose(0, 1))
    use_operator = step.use_operator
    if use_operator is None:
        use_operator = has_operator(query.device, query.dtype)
    if use_operator:
        attended = attend_by_operator(
            query[0].transpose(0, 1), keys, values, step, scaling
        )
    else:
        attended = attend_page_by_page(
            query[0].transpose(0, 1), keys, values, step, scaling
        )
    return attended[None], None


@functools.cache
def has_operator(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch's FlashAttention runs there: half precision on sm80 and newer."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def attend_by_operator(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    step: Step,
    scaling: float,
) -> torch.Tensor:
    """Compute attention with the CUDA operator.

    [T, heads, head_dim] queries and one layer's [num_places, kv_heads, head_dim] keys
    and values to [T, heads, head_dim]. Segments may come in any order, with gaps.
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
    """Compute the same in torch's own attention, which a processor runs.

    A call for each page: padding them to one call, which copies their caches, takes
    as long in bfloat16 and six times as long in float32.
    """
    query = query.transpose(0, 1)
    output = torch.empty_like(query)
    starts = step.query_starts.tolist()
    for (begin, end), start, used in zip(
        pairwise(starts),
        step.segment_starts.tolist()[:-1],
        step.num_used.tolist(),
        strict=True,
    ):
        output[:, begin:end] = _attend(
            query[:, begin:end],
            keys[start : start + used].transpose(0, 1),
            values[start : start + used].transpose(0, 1),
            scaling,
        )
    return output.transpose(0, 1)


def _attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float
) -> torch.Tensor:
    """[heads, n, d] queries, the last n of m tokens, to [kv_heads, m, d] keys."""
    num_heads, count, size = query.shape
    num_kv_heads, used, _ = keys.shape
    group = num_heads // num_kv_heads
    # Queries that share a key become rows of one head: nothing is copied.
    rows = query.reshape(num_kv_heads, group * count, size)
    visible = None
    if count > 1:
        visible = torch.ones(count, used, dtype=torch.bool, device=query.device)
        visible = visible.tril(used - count).repeat(group, 1)
    attended = scaled_dot_product_attention(
        rows[None], keys[None], values[None], attn_mask=visible, scale=scaling
    )
    return attended[0].reshape(num_heads, count, size)
