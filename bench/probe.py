"""Whether the attention operator does what the engine relies on, and how fast."""

from __future__ import annotations

from collections.abc import Callable
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
from bench.rates import seconds_of
from handler.engine import attention
from handler.engine.graphs import cuda_recorder

__all__ = ["LARGEST_ERROR", "probe_operator"]

LARGEST_ERROR = 0.02
"""Of a page's largest value. On a processor bfloat16 rounds away 0.003."""
QUERIES = (1, 5)
# As long as real pages, and with short ones between; none a multiple of a block.
USED = (4603, 17, 1021, 6999, 130, 2050, 5, 3333)
_CALLS_RECORDED = 10


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
    return found


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


def _kind(case: Case) -> tuple[torch.device, torch.dtype]:
    return case.query.device, case.query.dtype
