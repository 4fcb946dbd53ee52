"""How many guesses of a page's next tokens are worth computing."""

from __future__ import annotations

import pytest

from handler.engine.batching.drafting import worthwhile_drafts


@pytest.mark.parametrize(
    ("chance", "num_pages", "most"),
    [
        (0.9, 1, 39),
        (0.9, 16, 13),
        (0.5, 1, 6),
        (0.5, 16, 2),
        (0.2, 16, 0),
        (0.9, 64, 0),
    ],
)
def test_guessing_goes_as_far_as_it_pays(chance, num_pages, most):
    assert worthwhile_drafts(chance, num_pages, max_verified_tokens=64) == most
