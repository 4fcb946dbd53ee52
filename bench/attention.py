"""One forward's attention over pages of any length, and what it should come to.

The engine's own attention is called and compared with a softmax written out in
float32. Nothing of the engine or of a model runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from types import SimpleNamespace

import torch

from handler.engine import attention
from handler.engine.attention import KVPool, Step
from handler.engine.attention_check import compute_reference

__all__ = [
    "HEAD_DIM",
    "KV_HEADS",
    "Case",
    "attend",
    "case_of",
    "errors",
    "one_query_each",
    "reference",
]

_HEADS, KV_HEADS, HEAD_DIM = 32, 8, 128
_SHARPNESS = 4.0
"""Queries times this: or attention would be a mean of all keys, and no error large."""


@dataclass(frozen=True, slots=True)
class Case:
    """A forward's attention: the tensors of one layer, and where pages lie."""

    query: torch.Tensor
    """[1, heads, T, head_dim]"""
    key: torch.Tensor
    """[1, kv_heads, T, head_dim]: of these tokens, not yet in the pool."""
    value: torch.Tensor
    step: Step


def case_of(
    used: Seq[int],
    queries: int | Seq[int],
    device: torch.device,
    dtype: torch.dtype,
) -> Case:
    """Return pages whose segments are in another order than in the step, with gaps.

    `queries` is the number of tokens of each page in the step, or one number for all. A
    page with more queries than places in use gets as many places.
    """
    counts = [queries] * len(used) if isinstance(queries, int) else list(queries)
    seed = sum(number * index for index, number in enumerate((*used, *counts), 1))
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    used = [max(pair) for pair in zip(used, counts, strict=True)]
    gap = 37
    starts = [0] * len(used)
    free = gap
    for index in sorted(range(len(used)), key=lambda i: (i * 5 + 3) % len(used)):
        starts[index] = free
        free += used[index] + gap
    config = SimpleNamespace(
        num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM, num_hidden_layers=1
    )
    pool = KVPool(config, free, dtype, device)
    pool.keys[0].copy_(normal(free, KV_HEADS, HEAD_DIM))
    pool.values[0].copy_(normal(free, KV_HEADS, HEAD_DIM))
    query_starts = [0, *accumulate(counts)]
    total = query_starts[-1]
    places = [
        start + number - count + offset
        for start, number, count in zip(starts, used, counts, strict=True)
        for offset in range(count)
    ]

    def numbers(values: Seq[int], kind: torch.dtype = torch.int32) -> torch.Tensor:
        return torch.tensor(values, dtype=kind, device=device)

    return Case(
        (_SHARPNESS * normal(1, _HEADS, total, HEAD_DIM)).to(dtype),
        normal(1, KV_HEADS, total, HEAD_DIM).to(dtype),
        normal(1, KV_HEADS, total, HEAD_DIM).to(dtype),
        Step(
            pool,
            numbers(places, torch.int64),
            query_starts=numbers(query_starts),
            segment_starts=numbers([*starts, 0]),
            num_used=numbers(used),
            max_queries=max(counts),
            max_used=free,
            use_operator=attention.has_operator(device, dtype),
        ),
    )


def attend(case: Case) -> torch.Tensor:
    """Write to the cache, and return the engine's attention [T, heads, head_dim]."""
    step = case.step
    written = torch.cat([case.key[0], case.value[0]]).transpose(0, 1)
    step.pool.layers[0].index_copy_(0, step.places, written)
    return attention.attend(
        case.query[0].transpose(0, 1),
        step.pool.keys[0],
        step.pool.values[0],
        step,
        HEAD_DIM**-0.5,
    )


def reference(case: Case) -> torch.Tensor:
    """Compute attention [T, heads, head_dim] step by step in float32.

    Call it after `attend`, which writes to the pool.
    """
    [keys], [values] = case.step.pool.keys, case.step.pool.values
    query = case.query[0].transpose(0, 1)
    return compute_reference(query, keys, values, case.step, HEAD_DIM**-0.5)


def errors(case: Case, attended: torch.Tensor) -> list[float]:
    """Each page's largest error, as a share of its largest value."""
    expected = reference(case)
    shares = []
    for begin, end in pairwise(case.step.query_starts.tolist()):
        ours, right = attended[begin:end].float(), expected[begin:end]
        error = float((ours - right).abs().max() / right.abs().max())
        shares.append(error if math.isfinite(error) else math.inf)
    return shares


def one_query_each(case: Case) -> Case:
    """The same forward with every query a page of its own, over the same segment."""
    step = case.step
    count = step.max_queries
    behind = torch.arange(count - 1, -1, -1, device=step.num_used.device)
    num_used = (step.num_used[:, None] - behind).flatten().int()
    starts = step.segment_starts[:-1].repeat_interleave(count)
    return replace(
        case,
        step=replace(
            step,
            query_starts=torch.arange(
                len(num_used) + 1, dtype=torch.int32, device=num_used.device
            ),
            segment_starts=torch.cat([starts, starts[-1:]]),
            num_used=num_used,
            max_queries=1,
        ),
    )
