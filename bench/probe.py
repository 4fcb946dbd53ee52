"""Whether the attention operator does what the engine relies on; and a GPU's rates.

The engine's own attention is called, as transformers would call it, and held against
a softmax written out in float32. Nothing of the engine or of a model runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence as Seq
from dataclasses import dataclass, replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from bench.forcing import marks_of
from bench.roofline import Rates
from handler.engine import attention
from handler.engine.attention import KVPool, Step
from handler.engine.graphs import cuda_recorder

__all__ = [
    "LARGEST_ERROR",
    "Case",
    "attend",
    "bandwidth",
    "case_of",
    "errors",
    "gemm_rate",
    "measured_rates",
    "one_query_each",
    "probe_operator",
    "reference",
]

LARGEST_ERROR = 0.02
"""Of a page's largest value. On a processor bfloat16 rounds away 0.003."""
QUERIES = (1, 5)
# As long as real pages, and with short ones between; none a multiple of a block.
USED = (4603, 17, 1021, 6999, 130, 2050, 5, 3333)
_HEADS, _KV_HEADS, _HEAD_DIM = 32, 8, 128
_SHARPNESS = 4.0
"""Queries times this: or attention would be a mean of all keys, and no error large."""
_CALLS_RECORDED = 10


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
    used: Seq[int], num_queries: int, device: torch.device, dtype: torch.dtype
) -> Case:
    """Pages in segments in another order than in the forward, with gaps between."""
    generator = torch.Generator(device).manual_seed(len(used) + num_queries)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    used = [max(number, num_queries) for number in used]
    gap = 37
    starts = [0] * len(used)
    free = gap
    for index in sorted(range(len(used)), key=lambda i: (i * 5 + 3) % len(used)):
        starts[index] = free
        free += used[index] + gap
    config = SimpleNamespace(
        num_key_value_heads=_KV_HEADS, head_dim=_HEAD_DIM, num_hidden_layers=1
    )
    pool = KVPool(config, free, dtype, device)
    pool.keys[0].copy_(normal(free, _KV_HEADS, _HEAD_DIM))
    pool.values[0].copy_(normal(free, _KV_HEADS, _HEAD_DIM))
    total = num_queries * len(used)
    places = [
        start + number - num_queries + offset
        for start, number in zip(starts, used, strict=True)
        for offset in range(num_queries)
    ]

    def numbers(values: Seq[int], kind: torch.dtype = torch.int32) -> torch.Tensor:
        return torch.tensor(values, dtype=kind, device=device)

    return Case(
        (_SHARPNESS * normal(1, _HEADS, total, _HEAD_DIM)).to(dtype),
        normal(1, _KV_HEADS, total, _HEAD_DIM).to(dtype),
        normal(1, _KV_HEADS, total, _HEAD_DIM).to(dtype),
        Step(
            pool,
            numbers(places, torch.int64),
            query_starts=numbers(range(0, total + 1, num_queries)),
            segment_starts=numbers([*starts, 0]),
            num_used=numbers(used),
            max_queries=num_queries,
            max_used=free,
        ),
    )


def attend(case: Case) -> torch.Tensor:
    """[T, heads, head_dim] by the engine's attention, as transformers calls it."""
    attention.register()
    output, _ = ALL_ATTENTION_FUNCTIONS[attention.NAME](
        SimpleNamespace(layer_idx=0),
        case.query,
        case.key,
        case.value,
        None,
        scaling=_HEAD_DIM**-0.5,
        step=case.step,
    )
    attended: torch.Tensor = output[0]
    return attended


def reference(case: Case) -> torch.Tensor:
    """[T, heads, head_dim] in float32, written out; after `attend`, for it reads the
    pool and what was written to it."""
    step = case.step
    keys, values = step.pool.keys[0].float(), step.pool.values[0].float()
    rows = []
    for index, (start, used) in enumerate(
        zip(step.segment_starts.tolist(), step.num_used.tolist(), strict=False)
    ):
        begin, end = step.query_starts[index : index + 2].tolist()
        group = case.query.shape[1] // keys.shape[1]
        its_keys = keys[start : start + used].repeat_interleave(group, dim=1)
        its_values = values[start : start + used].repeat_interleave(group, dim=1)
        query = case.query[0, :, begin:end].float()
        scores = torch.einsum("hqd,khd->hqk", query, its_keys) * _HEAD_DIM**-0.5
        last_seen = torch.arange(used - (end - begin), used, device=scores.device)
        is_hidden = torch.arange(used, device=scores.device) > last_seen[:, None]
        weights = scores.masked_fill(is_hidden, -math.inf).softmax(dim=-1)
        rows.append(torch.einsum("hqk,khd->qhd", weights, its_values))
    return torch.cat(rows)


def errors(case: Case, attended: torch.Tensor) -> list[float]:
    """Each page's largest error, as a share of its largest value."""
    expected = reference(case)
    shares = []
    for begin, end in pairwise(case.step.query_starts.tolist()):
        ours, right = attended[begin:end].float(), expected[begin:end]
        error = float((ours - right).abs().max() / right.abs().max())
        shares.append(error if math.isfinite(error) else math.inf)
    return shares


@torch.inference_mode()
def probe_operator(device: torch.device) -> dict[str, Any]:
    """Whether the operator is right, and how fast it is; only a GPU has it."""
    if not attention.has_operator(device, torch.bfloat16):
        return {
            "is_right": None,
            "skipped": f"{device.type} has no such operator: nothing was compared",
        }
    cases = {}
    for num_queries in QUERIES:
        case = case_of(USED, num_queries, device, torch.bfloat16)
        try:
            cases[f"queries={num_queries}"] = {
                "error": max(errors(case, attend(case))),
                "error_replayed": _replayed(case),
                "is_same_in_company": _is_same_in_company(case),
            }
        except RuntimeError as error:
            return {"is_right": False, "failure": str(error), "cases": cases}
    is_right = all(
        found["error"] <= LARGEST_ERROR
        and found["error_replayed"] <= LARGEST_ERROR
        and found["is_same_in_company"]
        for found in cases.values()
    )
    return {
        "is_right": is_right,
        "largest_error_allowed": LARGEST_ERROR,
        "cases": cases,
        "speed": _speeds(device) if is_right else [],
    }


def _replayed(case: Case) -> float:
    """The largest error of a recorded call, after everything it reads has changed."""
    other = case_of(USED[::-1], case.step.max_queries, *_kind(case))
    (attended, _), replay = cuda_recorder()(lambda: _twice(attend(case)))
    for ours, theirs in zip(_tensors(case), _tensors(other), strict=True):
        ours.copy_(theirs)
    replay()
    return max(errors(case, attended))


def _twice(attended: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As the recorder wants it, which knows of two outputs."""
    return attended, attended


def _is_same_in_company(case: Case) -> bool:
    """Whether the first page's bits are the same when the others are someone else."""
    attended = attend(case)[: case.step.max_queries].clone()
    step = case.step
    idle = step.num_used.clone()
    idle[1:] = step.max_queries
    query = case.query.clone()
    query[:, :, step.max_queries :] = 0
    alone = replace(case, query=query, step=replace(step, num_used=idle))
    return torch.equal(attended, attend(alone)[: step.max_queries])


def _speeds(device: torch.device) -> list[dict[str, object]]:
    """Of pages of 4,603 tokens, by pages, queries, and what the host says is the most.

    `bound`: the split of one page's keys over the device follows it, not the page.
    `as_rows`: guesses as pages of one query each, which share their segment.
    Replayed, so that no launch is waited for. A page alone fits into a large GPU's
    cache, so its rows are to be compared with each other and with no bandwidth.
    """
    found: list[dict[str, object]] = []
    for num_pages in (1, 8, 32):
        used = [USED[0]] * num_pages
        for num_queries, bound, as_rows in (
            (1, 5120, False),
            (1, 16_384, False),
            (1, 262_144, False),
            (5, 16_384, False),
            (5, 5120, True),
            (9, 16_384, False),
            (9, 5120, True),
        ):
            case = case_of(used, num_queries, device, torch.bfloat16)
            case.step.max_used = bound
            if as_rows:
                case = one_query_each(case)
            seconds = _seconds(_recorded(case), device) / _CALLS_RECORDED
            read = 2 * sum(used) * _KV_HEADS * _HEAD_DIM * 2
            found.append(
                {
                    "pages": num_pages,
                    "queries": num_queries,
                    "bound": bound,
                    "as_rows": as_rows,
                    "microseconds": seconds * 1e6,
                    "gigabytes_per_second": read / seconds / 1e9,
                }
            )
    return found


def _recorded(case: Case) -> Callable[[], None]:
    def compute() -> tuple[torch.Tensor, torch.Tensor]:
        for _ in range(_CALLS_RECORDED - 1):
            attend(case)
        return _twice(attend(case))

    _, replay = cuda_recorder()(compute)
    return replay


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


def bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of a copy larger than any cache."""
    size = 2**31 if device.type == "cuda" else 2**26
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / _seconds(lambda: target.copy_(source), device)


def gemm_rate(device: torch.device) -> float:
    """Operations a second of a bfloat16 product of two large square matrices."""
    size = 8192 if device.type == "cuda" else 256
    left = torch.randn(size, size, device=device).to(torch.bfloat16)
    right = torch.randn(size, size, device=device).to(torch.bfloat16)
    return 2 * size**3 / _seconds(lambda: left @ right, device)


def measured_rates(device: torch.device) -> Rates:
    """What a roofline is made of."""
    return Rates(bandwidth(device), gemm_rate(device))


def _seconds(compute: Callable[[], Any], device: torch.device) -> float:
    """The best mean of a few dozen calls."""
    marks = marks_of(device, time.perf_counter)
    num_calls, num_tries = (20, 3) if device.type == "cuda" else (3, 2)
    for _ in range(3):
        compute()
    tries = []
    for _ in range(num_tries):
        begin = marks.take()
        for _ in range(num_calls):
            compute()
        tries.append((begin, marks.take()))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return min(marks.seconds_between(*pair) for pair in tries) / num_calls


def _tensors(case: Case) -> list[torch.Tensor]:
    step = case.step
    return [
        case.query,
        case.key,
        case.value,
        step.places,
        step.query_starts,
        step.segment_starts,
        step.num_used,
        step.pool.keys[0],
        step.pool.values[0],
    ]


def _kind(case: Case) -> tuple[torch.device, torch.dtype]:
    return case.query.device, case.query.dtype
