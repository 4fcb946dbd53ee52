"""Probe of the attention operator, with attention functions that need no GPU."""

from __future__ import annotations

import pytest
import torch

from bench.runs.probe import probe_attention, probe_operator, split_into_single_queries
from bench.runs.recorder import record_replay
from handler.engine.device.attention import Step, attend_page_by_page
from handler.engine.device.checks.attention_check import (
    AttentionCase,
    HeadGeometry,
    compute_reference,
    make_case,
)

CPU = torch.device("cpu")
SMALL = HeadGeometry(4, 2, 16)


def make_bfloat16_case(
    *queries: int, dtype: torch.dtype = torch.bfloat16
) -> AttentionCase:
    return make_case("case", SMALL, queries, (70, 9, 200), 0, CPU, dtype)


def attend_correctly(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    step: Step,
    scaling: float,
) -> torch.Tensor:
    return compute_reference(query, keys, values, step, scaling).to(query.dtype)


@pytest.mark.parametrize("queries", [(1, 1, 1), (9, 9, 9), (32, 1, 5)])
def test_right_attention_passes(queries):
    result = probe_attention(
        attend_correctly, [make_bfloat16_case(*queries)], record_replay
    )

    assert result["is_right"]
    assert 0 < result["cases"]["case"]["error"] < 0.01


def test_input_frozen_by_the_recording_is_detected():
    def record_without_replay(compute):
        return compute(), lambda: None

    result = probe_attention(
        attend_correctly, [make_bfloat16_case(5, 5, 5)], record_without_replay
    )

    assert result["cases"]["case"]["error"] < 0.01
    assert result["cases"]["case"]["error_replayed"] > 0.1
    assert not result["is_right"]


def test_dependence_on_other_pages_is_detected():
    def attend_depending_on_others(query, keys, values, step, scaling):
        attended = attend_correctly(query, keys, values, step, scaling)
        return attended * (1 + 1e-2 * int(step.num_used[-1] > 9))

    result = probe_attention(
        attend_depending_on_others, [make_bfloat16_case(5, 5, 5)], record_replay
    )

    assert not result["cases"]["case"]["is_same_in_company"]
    assert not result["is_right"]


def test_operator_that_raises_fails_with_its_message():
    def attend_without_kernel(*args):
        raise RuntimeError("no kernel image")

    result = probe_attention(
        attend_without_kernel, [make_bfloat16_case(1, 1, 1)], record_replay
    )

    assert result == {"is_right": False, "failure": "no kernel image", "cases": {}}


def test_drafts_can_be_pages_of_one_query_each():
    case = make_bfloat16_case(5, 5, 5, dtype=torch.float32)
    rows = split_into_single_queries(case)

    attended = [
        attend_page_by_page(
            one_case.query, one_case.keys, one_case.values, one_case.step, 0.25
        )
        for one_case in (case, rows)
    ]

    torch.testing.assert_close(*attended)


@pytest.mark.gpu
def test_operator_has_the_properties_the_engine_needs():
    assert probe_operator(torch.device("cuda"))["is_right"]


def test_probe_is_skipped_without_a_gpu():
    result = probe_operator(CPU)

    assert result["is_right"] is None
    assert "nothing was compared" in result["skipped"]
