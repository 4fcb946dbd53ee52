"""Check of the attention operator, with correct and wrong operators."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from handler.engine.device.attention import Step, attend_page_by_page
from handler.engine.device.checks.attention_check import (
    AttentionCase,
    HeadGeometry,
    check_attention,
    compute_reference,
    generate_cases,
    lay_out_segments,
)
from handler.engine.fallbacks import Check, SelfTestError

HEADS = HeadGeometry(4, 2, 16)
CPU = torch.device("cpu")


def list_cases() -> list[AttentionCase]:
    return list(
        generate_cases(
            HEADS,
            CPU,
            torch.bfloat16,
            used=(200, 17, 60, 3),
            chunk=64,
            spare_positions=500,
        )
    )


def attend_correctly(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    step: Step,
    scaling: float,
) -> torch.Tensor:
    """Compute the reference in the dtype of the inputs."""
    return compute_reference(query, keys, values, step, scaling).to(query.dtype)


def count_queries(step: Step) -> list[int]:
    return [end - begin for begin, end in pairwise(step.query_starts.tolist())]


def test_correct_operator_passes_within_rounding():
    assert 0 < check_attention(attend_correctly, list_cases()) < 0.01


def test_cases_cover_decode_and_prefill_steps():
    cases = list_cases()

    counts = [count_queries(case.step) for case in cases]
    for number in (1, 5, 9):
        assert [number] * 4 in counts
    assert any(len(set(some)) > 2 for some in counts)
    assert [64] in counts
    starts = cases[0].step.segment_starts.tolist()[:-1]
    assert starts != sorted(starts)
    for case in cases:
        assert case.step.max_used >= int(case.step.num_used.max())
    bounds = {case.step.max_used for case in cases}
    assert min(bounds) == 200
    assert max(bounds) > 500


def test_segments_do_not_overlap_and_have_gaps():
    used = (200, 17, 60, 3, 90)

    starts, num_cache_positions = lay_out_segments(used)

    ordered = sorted(zip(starts, used, strict=True))
    assert all(start + n < after for (start, n), (after, _) in pairwise(ordered))
    assert ordered[-1][0] + ordered[-1][1] < num_cache_positions


def test_reference_agrees_with_torchs_attention():
    for case in list_cases():
        inputs = (case.query.float(), case.keys.float(), case.values.float())
        expected = compute_reference(*inputs, case.step, 0.25)

        torch.testing.assert_close(
            attend_page_by_page(*inputs, case.step, 0.25), expected
        )


def attend_wrongly_with_nine_queries(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    step: Step,
    scaling: float,
) -> torch.Tensor:
    """Compute the reference, with an error in steps of nine queries a page."""
    attended = attend_correctly(query, keys, values, step, scaling)
    if count_queries(step) == [9] * 4:
        # Change the last query of the last page by a value of another page.
        attended[-1] += values[0].float().mean()
    return attended


def attend_aligned_to_the_left(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    step: Step,
    scaling: float,
) -> torch.Tensor:
    """Compute attention as if queries were the first tokens of a page, not the last."""
    used = step.num_used.clone()
    step.num_used = torch.tensor(count_queries(step), dtype=torch.int32)
    try:
        return attend_correctly(query, keys, values, step, scaling)
    finally:
        step.num_used = used


def attend_with_nan(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    step: Step,
    scaling: float,
) -> torch.Tensor:
    return attend_correctly(query, keys, values, step, scaling) * torch.nan


@pytest.mark.parametrize(
    ("attend", "case"),
    [
        (attend_wrongly_with_nine_queries, "9 queries, close bound"),
        (attend_aligned_to_the_left, "1 queries, close bound"),
        (attend_with_nan, "1 queries, close bound"),
    ],
)
def test_wrong_operator_is_reported_with_its_case(attend, case):
    with pytest.raises(SelfTestError) as raised:
        check_attention(attend, list_cases())

    assert raised.value.check is Check.ATTENTION
    assert raised.value.case == case
    assert raised.value.actual > raised.value.allowed


def test_exception_of_the_operator_is_not_a_mismatch():
    def missing(*args: object) -> torch.Tensor:
        raise NotImplementedError("no kernel image")

    with pytest.raises(NotImplementedError):
        check_attention(missing, list_cases())


def test_cases_do_not_change_the_random_state():
    before = torch.get_rng_state()

    list_cases()

    assert torch.equal(torch.get_rng_state(), before)
