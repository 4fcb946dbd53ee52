"""Check the attention operator for what the engine relies on, and time it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence as Seq
from dataclasses import replace
from typing import Any

import torch

from bench.attention import (
    HEAD_DIM,
    KV_HEADS,
    Case,
    attend,
    case_of,
    errors,
    one_query_each,
)
from bench.device.hardware import NEEDS_CUDA
from bench.rates import seconds_of
from handler.engine import attention
from handler.engine.graphs import cuda_recorder

__all__ = ["CASES", "LARGEST_ERROR", "operator_speed", "probe_operator"]

LARGEST_ERROR = 0.02
"""As a share of a page's largest value. A processor's bfloat16 rounds away 0.003."""
# As long as real pages, and with short ones between; none a multiple of a block.
USED = (4603, 17, 1021, 6999, 130, 2050, 5, 3333)
CASES: dict[str, tuple[Seq[int], int | Seq[int]]] = {
    "1 query": (USED, 1),
    "5 queries": (USED, 5),
    "9 queries": (USED, 9),
    "prefill chunks": (USED[::5], 1024),
    "chunk, drafts and single queries": (USED, (512, 1, 5, 1, 9, 1, 1, 1)),
}
"""Places in use and queries of each page, by name."""
_CALLS_RECORDED = 10


@torch.inference_mode()
def probe_operator(
    device: torch.device, cases: Mapping[str, tuple[Seq[int], int | Seq[int]]] = CASES
) -> dict[str, Any]:
    """Compare the operator with float32, recorded too; skipped where there is none."""
    if not attention.has_operator(device, torch.bfloat16):
        return {
            "is_right": None,
            "skipped": f"{NEEDS_CUDA}: nothing was compared",
        }
    found: dict[str, dict[str, Any]] = {}
    for name, (used, queries) in cases.items():
        case = case_of(used, queries, device, torch.bfloat16)
        other = case_of(used[::-1], queries, device, torch.bfloat16)
        try:
            found[name] = {
                "error": max(errors(case, attend(case))),
                "error_replayed": _replayed(case, other),
                "is_same_in_company": _is_same_in_company(case),
            }
        except RuntimeError as error:
            return {"is_right": False, "failure": str(error), "cases": found}
    is_right = all(
        case["error"] <= LARGEST_ERROR
        and case["error_replayed"] <= LARGEST_ERROR
        and case["is_same_in_company"]
        for case in found.values()
    )
    return {
        "is_right": is_right,
        "largest_error_allowed": LARGEST_ERROR,
        "cases": found,
    }


def _replayed(case: Case, other: Case) -> float:
    """Return the largest error of a recorded call whose inputs became `other`'s."""
    (attended, _), replay = cuda_recorder()(lambda: _twice(attend(case)))
    for ours, theirs in zip(_tensors(case), _tensors(other), strict=True):
        ours.copy_(theirs)
    replay()
    return max(errors(case, attended))


def _twice(attended: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two outputs, as the recorder expects."""
    return attended, attended


def _is_same_in_company(case: Case) -> bool:
    """Return whether the first page's bits stay the same when all others change."""
    step = case.step
    count = int(step.query_starts[1])
    attended = attend(case)[:count].clone()
    idle = step.num_used.clone()
    idle[1:] = step.query_starts.diff()[1:]
    query = case.query.clone()
    query[:, :, count:] = 0
    alone = replace(case, query=query, step=replace(step, num_used=idle))
    return torch.equal(attended, attend(alone)[:count])


@torch.inference_mode()
def operator_speed(device: torch.device) -> dict[str, Any]:
    """Time recorded calls over pages of 4,603 tokens, by pages and queries.

    `bound`: the most places that the host says a page uses. The operator divides that
    many over the device's units, whatever the page uses. `as_rows`: each draft is a
    page of one query that shares its page's segment. A page alone fits into a large
    GPU's cache, so its bytes a second say nothing about memory.
    """
    if not attention.has_operator(device, torch.bfloat16):
        return {"skipped": NEEDS_CUDA}
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
            seconds = seconds_of(_recorded(case), device) / _CALLS_RECORDED
            read = 2 * sum(used) * KV_HEADS * HEAD_DIM * 2
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
    return {"calls": found}


def _recorded(case: Case) -> Callable[[], None]:
    def compute() -> tuple[torch.Tensor, torch.Tensor]:
        for _ in range(_CALLS_RECORDED - 1):
            attend(case)
        return _twice(attend(case))

    _, replay = cuda_recorder()(compute)
    return replay


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
