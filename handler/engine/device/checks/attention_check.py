"""Comparison of the attention operator with a reference in float32.

The operator is a parameter, so the check can be tested on a CPU, also with faulty
operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch

from handler.engine.device.attention import KVCache, Step
from handler.engine.fallbacks import Check, SelfTestError

__all__ = [
    "LARGEST_ERROR",
    "AttentionCase",
    "HeadGeometry",
    "check_attention",
    "compute_reference",
    "generate_cases",
    "lay_out_segments",
    "make_case",
    "page_errors",
    "relative_error",
]

LARGEST_ERROR = 0.02
"""Allowed error, as a share of a page's largest value. Rounding to bfloat16 causes an
error of 0.003."""
_SHARPNESS = 4.0
"""Factor by which queries are multiplied. Without it, attention to random keys would be
close to the mean of all values, and an error in one key would change little."""
_NUM_USED = (4603, 17, 1021, 2999, 130, 2050, 9, 700)
"""Tokens in the cache of each page: realistic and short pages. Few of the numbers are
multiples of the operator's block size."""
_NUM_QUERIES = (1, 5, 9)
_CHUNK = 1024
"""Number of queries in a prefill chunk."""
_SPARE_POSITIONS = 16_384
"""Unused positions after the segments: a recorded step passes a constant bound far
above the longest page."""
_GAP = 37
"""Unused positions between two segments."""

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, Step, float], torch.Tensor]
"""[T, heads, head_dim] queries, [positions, kv_heads, head_dim] keys and values, the
step and the scale to [T, heads, head_dim]."""


@dataclass(frozen=True, slots=True)
class HeadGeometry:
    """Number and size of a model's attention heads."""

    num_heads: int
    num_kv_heads: int
    head_dim: int

    @classmethod
    def of(cls, config: Any) -> HeadGeometry:
        """Return the geometry of a text model's configuration."""
        return cls(
            config.num_attention_heads, config.num_key_value_heads, config.head_dim
        )


@dataclass(frozen=True, slots=True)
class AttentionCase:
    """Inputs of one layer's attention in a forward pass, with all keys in the cache."""

    name: str
    query: torch.Tensor
    """[T, heads, head_dim]"""
    keys: torch.Tensor
    """[positions, kv_heads, head_dim], strided as those of the cache"""
    values: torch.Tensor
    step: Step


def lay_out_segments(used: Sequence[int], gap: int = _GAP) -> tuple[list[int], int]:
    """Lay out segments with gaps, in an order that differs from the pages' order.

    Returns the start of each segment and the number of positions.
    """
    starts = [0] * len(used)
    free = gap
    for index in sorted(range(len(used)), key=lambda i: (i * 5 + 3) % len(used)):
        starts[index] = free
        free += used[index] + gap
    return starts, free


def generate_cases(
    heads: HeadGeometry,
    device: torch.device,
    dtype: torch.dtype,
    *,
    used: Sequence[int] = _NUM_USED,
    chunk: int = _CHUNK,
    spare_positions: int = _SPARE_POSITIONS,
) -> Iterable[AttentionCase]:
    """Generate inputs like those of decode and prefill steps.

    The cases are pages with 1, 5 or 9 queries each, pages with different numbers of
    queries, and a prefill chunk with earlier tokens in the cache, alone and beside
    decoding pages. Each case is made twice: with a bound close to the longest page, and
    with the constant bound of a recorded step. One case is in memory at a time.
    """
    longest = max(used)
    counts = [(f"{n} queries", [n] * len(used)) for n in _NUM_QUERIES]
    mixed = [_NUM_QUERIES[i % len(_NUM_QUERIES)] for i in range(len(used))]
    counts += [("mixed queries", mixed), ("prefill chunk", [min(chunk, longest)])]
    counts += [("prefill chunk and rows", [min(chunk, longest), *mixed[1:]])]
    for name, queries in counts:
        for bound in ("close bound", "constant bound"):
            yield make_case(
                f"{name}, {bound}",
                heads,
                queries,
                used[: len(queries)],
                spare_positions if bound == "constant bound" else 0,
                device,
                dtype,
            )


def make_case(
    name: str,
    heads: HeadGeometry,
    queries: Sequence[int],
    used: Sequence[int],
    spare_positions: int,
    device: torch.device,
    dtype: torch.dtype,
) -> AttentionCase:
    """Make a step with a page for each pair of a number in `queries` and in `used`.

    `queries` are numbers of tokens in the step, and `used` are numbers of cache
    positions in use. A page with more queries than positions gets as many positions.
    The order of the segments differs from that of the pages. With
    `spare_positions` behind the segments, the bound of positions is their end; else it
    is the longest page.
    """
    # The default generator of the device is left alone, because sampling uses it.
    generator = torch.Generator(device).manual_seed(sum(queries) + len(used))

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    def numbers(values: Sequence[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int32, device=device)

    used = [max(pair) for pair in zip(used, queries, strict=True)]
    starts, free = lay_out_segments(used)
    num_positions = free + spare_positions
    size = (heads.num_kv_heads, heads.head_dim)
    total = sum(queries)
    query_starts = [0]
    for count in queries:
        query_starts.append(query_starts[-1] + count)
    config = SimpleNamespace(
        num_hidden_layers=1,
        num_key_value_heads=heads.num_kv_heads,
        head_dim=heads.head_dim,
    )
    cache = KVCache(config, num_positions, dtype, device)
    [keys], [values] = cache.keys, cache.values
    keys[:free], values[:free] = normal(free, *size), normal(free, *size)
    query = _SHARPNESS * normal(total, heads.num_heads, heads.head_dim)
    return AttentionCase(
        name,
        query.to(dtype),
        keys,
        values,
        Step(
            cache,
            # Empty, because the keys of these queries are already in the cache.
            cache_positions=torch.empty(0, dtype=torch.int64, device=device),
            query_starts=numbers(query_starts),
            segment_starts=numbers([*starts, free]),
            num_used=numbers(used),
            max_queries=max(queries),
            max_used=num_positions if spare_positions else max(used),
        ),
    )


def compute_reference(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    step: Step,
    scaling: float,
) -> torch.Tensor:
    """Compute attention for one page at a time in float32; see `Attend` for the shapes.

    Heads of keys are computed one by one, because the scores of a prefill chunk are
    large.
    """
    group = query.shape[1] // keys.shape[1]
    query = query.transpose(0, 1)
    attended = query.new_empty(query.shape, dtype=torch.float32)
    begins = step.query_starts.tolist()
    for (begin, end), start, used in zip(
        pairwise(begins),
        step.segment_starts.tolist()[:-1],
        step.num_used.tolist(),
        strict=True,
    ):
        last_seen = torch.arange(used - (end - begin), used, device=query.device)
        is_hidden = torch.arange(used, device=query.device) > last_seen[:, None]
        for head in range(keys.shape[1]):
            query_heads = slice(head * group, (head + 1) * group)
            head_keys = keys[start : start + used, head].float()
            scores = query[query_heads, begin:end].float() @ head_keys.T * scaling
            weights = scores.masked_fill(is_hidden, -math.inf).softmax(dim=-1)
            head_values = values[start : start + used, head].float()
            attended[query_heads, begin:end] = weights @ head_values
    return attended.transpose(0, 1)


def page_errors(
    attended: torch.Tensor, expected: torch.Tensor, query_starts: Sequence[int]
) -> list[float]:
    """Return each page's largest error as a share of its largest expected value.

    Both tensors are [T, heads, head_dim]. A value that is not finite is an infinite
    error.
    """
    return [
        relative_error(attended[begin:end], expected[begin:end])
        for begin, end in pairwise(query_starts)
    ]


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest error as a share of the largest expected value."""
    error = float((actual.float() - expected).abs().max() / expected.abs().max())
    return error if math.isfinite(error) else math.inf


@torch.inference_mode()
def check_attention(attend: Attend, cases: Iterable[AttentionCase]) -> float:
    """Compare `attend` with the reference; return the largest error.

    Raises SelfTestError for the first case whose error is above LARGEST_ERROR.
    """
    worst = 0.0
    for case in cases:
        scaling = case.query.shape[-1] ** -0.5
        inputs = (case.query, case.keys, case.values, case.step, scaling)
        expected = compute_reference(*inputs)
        error = max(
            page_errors(attend(*inputs), expected, case.step.query_starts.tolist())
        )
        if error > LARGEST_ERROR:
            raise SelfTestError(
                Check.ATTENTION, case.name, actual=error, allowed=LARGEST_ERROR
            )
        worst = max(worst, error)
    return worst
