"""What the probe of the attention operator finds, on attention that needs no GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bench.attention import Case, attend, case_of, errors, one_query_each
from bench.probe import CASES, LARGEST_ERROR, probe_operator

CPU = torch.device("cpu")


def broken(case: Case, **changes) -> Case:
    return replace(case, step=replace(case.step, **changes))


@pytest.mark.parametrize("num_queries", [1, 5, 9])
def test_bfloat16_is_within_the_error_that_is_allowed(num_queries):
    case = case_of((70, 9, 200), num_queries, CPU, torch.bfloat16)

    assert max(errors(case, attend(case))) <= LARGEST_ERROR


@pytest.mark.parametrize("num_queries", [1, 5, 9])
def test_a_page_that_misses_a_key_or_reads_a_neighbours_is_found(num_queries):
    case = case_of((70, 9, 200), num_queries, CPU, torch.bfloat16)
    step = case.step
    short = broken(case, num_used=step.num_used - 1)
    aside = broken(case, segment_starts=step.segment_starts + 1)

    for wrong in (short, aside):
        assert min(errors(case, attend(wrong))) > LARGEST_ERROR


def test_guesses_can_be_pages_of_one_query_each():
    case = case_of((70, 9, 200), 5, CPU, torch.float32)

    torch.testing.assert_close(attend(one_query_each(case)), attend(case))


def test_pages_with_different_numbers_of_queries_are_compared():
    case = case_of((70, 9, 200), (32, 1, 5), CPU, torch.bfloat16)
    step = case.step
    aside = broken(case, segment_starts=step.segment_starts + 1)

    assert step.query_starts.tolist() == [0, 32, 33, 38]
    assert step.max_queries == 32
    assert max(errors(case, attend(case))) <= LARGEST_ERROR
    assert min(errors(case, attend(aside))) > LARGEST_ERROR


@pytest.mark.parametrize("name", list(CASES)[-1:])
def test_reversed_pages_replace_the_tensors_of_a_case(name):
    used, queries = CASES[name]

    case = case_of(used, queries, CPU, torch.bfloat16)
    other = case_of(used[::-1], queries, CPU, torch.bfloat16)

    assert case.query.shape == other.query.shape
    assert not torch.equal(case.query, other.query)
    assert case.step.pool.num_places == other.step.pool.num_places


@pytest.mark.gpu
def test_the_operator_does_what_the_engine_relies_on():
    assert probe_operator(torch.device("cuda"))["is_right"]


def test_without_a_gpu_the_operator_does_not_pass_but_is_skipped():
    found = probe_operator(CPU)

    assert found["is_right"] is None
    assert "nothing was compared" in found["skipped"]
