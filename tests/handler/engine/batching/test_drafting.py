"""Length of a page's drafts."""

from __future__ import annotations

import pytest

from handler.engine.batching.drafting import (
    AcceptanceRate,
    choose_draft_length,
    count_accepted,
)


@pytest.mark.parametrize(
    ("acceptance_rate", "num_pages", "expected"),
    [
        (0.9, 1, 39),
        (0.9, 16, 13),
        (0.5, 1, 6),
        (0.5, 16, 2),
        (0.2, 16, 0),
        (0.9, 64, 0),
    ],
)
def test_draft_length_depends_on_acceptance_and_batch(
    acceptance_rate, num_pages, expected
):
    assert (
        choose_draft_length(acceptance_rate, num_pages, max_verified_tokens=64)
        == expected
    )


def test_accepted_drafts_end_at_the_first_difference():
    assert count_accepted([1, 2, 3], [1, 2, 4, 5]) == 2
    assert count_accepted([1, 2], [1, 2, 3]) == 2
    assert count_accepted([], [1]) == 0


def test_acceptance_rate_rises_with_accepted_drafts():
    rate = AcceptanceRate(0.5)

    rate.update(200, has_rejection=False)

    assert rate.value > 0.99


def test_acceptance_rate_falls_with_each_rejection():
    rate = AcceptanceRate(0.5)

    rate.update(0, has_rejection=True)

    assert rate.value == pytest.approx(0.475)
