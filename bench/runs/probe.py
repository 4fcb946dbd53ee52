"""Checks of the attention operator's properties on which the engine relies, and times.

Inputs, reference and error limit are those of the engine's self-test
(`attention_check.py`). Recorded calls, independence of other pages, and speeds are
checked only here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch

from bench.device.hardware import NEEDS_CUDA
from bench.runs.rates import time_call
from handler.engine.device.attention import attend_by_operator, has_operator
from handler.engine.device.checks.attention_check import (
    LARGEST_ERROR,
    Attend,
    AttentionCase,
    HeadGeometry,
    compute_reference,
    generate_cases,
    make_case,
    page_errors,
)
from handler.engine.device.graphs import Record, make_cuda_recorder

__all__ = [
    "HEADS",
    "probe_attention",
    "probe_operator",
    "split_into_single_queries",
    "time_operator",
]

HEADS = HeadGeometry(num_heads=32, num_kv_heads=8, head_dim=128)
"""Heads of Chandra 1."""
_PAGE_POSITIONS = 4603
"""Cache positions of a page with half of its answer; not a multiple of a block."""
_NUM_RECORDED_CALLS = 10
_MOVED_POSITIONS = 5
_FEWER_USED = 3


def probe_operator(device: torch.device) -> dict[str, Any]:
    """Compare the operator with a float32 reference.

    If the device has no such operator, the result says that nothing was compared.
    """
    if not has_operator(device, torch.bfloat16):
        return {
            "is_right": None,
            "skipped": f"{NEEDS_CUDA}: nothing was compared",
        }
    cases = generate_cases(HEADS, device, torch.bfloat16)
    return probe_attention(attend_by_operator, cases, make_cuda_recorder(device))


@torch.inference_mode()
def probe_attention(
    attend: Attend, cases: Iterable[AttentionCase], record: Record
) -> dict[str, Any]:
    """Compare `attend` with the reference in every case, and change the cases' inputs.

    Stop at the first RuntimeError, whose text is the result's `failure`. In each case,
    `error` is the error of a call, and `error_replayed` that of a recorded call whose
    inputs have changed since. `is_same_in_company` is True if the bits of the first
    page stay the same when all other pages change.
    """
    results: dict[str, dict[str, Any]] = {}
    for case in cases:
        try:
            results[case.name] = {
                "error": _compute_error(case, _call(attend, case)),
                "is_same_in_company": _is_independent_of_other_pages(attend, case),
                "error_replayed": _compute_replay_error(attend, case, record),
            }
        except RuntimeError as error:
            return {"is_right": False, "failure": str(error), "cases": results}
    is_right = all(
        case["error"] <= LARGEST_ERROR
        and case["error_replayed"] <= LARGEST_ERROR
        and case["is_same_in_company"]
        for case in results.values()
    )
    return {
        "is_right": is_right,
        "largest_error_allowed": LARGEST_ERROR,
        "cases": results,
    }


def _call(attend: Attend, case: AttentionCase) -> torch.Tensor:
    scaling = case.query.shape[-1] ** -0.5
    return attend(case.query, case.keys, case.values, case.step, scaling)


def _compute_error(case: AttentionCase, attended: torch.Tensor) -> float:
    """Return the largest error among the pages."""
    expected = _call(compute_reference, case)
    return max(page_errors(attended, expected, case.step.query_starts.tolist()))


def _compute_replay_error(attend: Attend, case: AttentionCase, record: Record) -> float:
    (attended, _), replay = record(lambda: _as_two_outputs(_call(attend, case)))
    _change_inputs(case)
    replay()
    return _compute_error(case, attended)


def _change_inputs(case: AttentionCase) -> None:
    """Change every input of a case in place, as a step does before it replays a graph.

    Segments move by a few positions, and pages use a few positions less.
    """
    step = case.step
    for tensor in (case.keys, case.values):
        tensor.copy_(tensor.roll(_MOVED_POSITIONS, 0).flip(-1))
    case.query.copy_(case.query.flip(-1))
    step.segment_starts += _MOVED_POSITIONS
    counts = step.query_starts.diff()
    step.num_used.copy_((step.num_used - _FEWER_USED).maximum(counts))


def _as_two_outputs(attended: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two outputs, as the recorder expects."""
    return attended, attended


def _is_independent_of_other_pages(attend: Attend, case: AttentionCase) -> bool:
    """Return True if the first page's bits stay the same when all others change."""
    step = case.step
    count = int(step.query_starts[1])
    attended = _call(attend, case)[:count].clone()
    num_used = step.num_used.clone()
    num_used[1:] = step.query_starts.diff()[1:]
    query = case.query.clone()
    query[count:] = 0
    alone = replace(case, query=query, step=replace(step, num_used=num_used))
    return torch.equal(attended, _call(attend, alone)[:count])


@torch.inference_mode()
def time_operator(device: torch.device) -> dict[str, Any]:
    """Time recorded calls over pages of 4,603 tokens, by pages and queries.

    `bound` is the upper bound of positions per page that the host passes. The operator
    divides that number over the device's units, even if pages use less. With `as_rows`,
    each draft is a page of one query that shares its page's segment. A single page fits
    into a large GPU's cache, so its bytes per second do not show the memory bandwidth.
    """
    if not has_operator(device, torch.bfloat16):
        return {"skipped": NEEDS_CUDA}
    results: list[dict[str, object]] = []
    for num_pages in (1, 8, 32):
        for num_queries, bound, as_rows in (
            (1, 5120, False),
            (1, 16_384, False),
            (1, 262_144, False),
            (5, 16_384, False),
            (5, 5120, True),
            (9, 16_384, False),
            (9, 5120, True),
        ):
            queries, used = [num_queries] * num_pages, [_PAGE_POSITIONS] * num_pages
            case = make_case("speed", HEADS, queries, used, 0, device, torch.bfloat16)
            case.step.max_used = bound
            if as_rows:
                case = split_into_single_queries(case)
            seconds = (
                time_call(_record_calls(case, device), device) / _NUM_RECORDED_CALLS
            )
            read = 2 * sum(used) * HEADS.num_kv_heads * HEADS.head_dim * 2
            results.append(
                {
                    "pages": num_pages,
                    "queries": num_queries,
                    "bound": bound,
                    "as_rows": as_rows,
                    "microseconds": seconds * 1e6,
                    "gigabytes_per_second": read / seconds / 1e9,
                }
            )
    return {"calls": results}


def split_into_single_queries(case: AttentionCase) -> AttentionCase:
    """Return the case with each query as a page of its own, over the same segment."""
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


def _record_calls(case: AttentionCase, device: torch.device) -> Callable[[], None]:
    def compute() -> tuple[torch.Tensor, torch.Tensor]:
        for _ in range(_NUM_RECORDED_CALLS - 1):
            _call(attend_by_operator, case)
        return _as_two_outputs(_call(attend_by_operator, case))

    _, replay = make_cuda_recorder(device)(compute)
    return replay
