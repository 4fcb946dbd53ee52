"""Length of a page's drafts."""

from __future__ import annotations

import pytest

from handler.engine.batching.drafting import choose_draft_length


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
