"""Speculative decoding: the source of draft tokens, and how many to verify at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

__all__ = ["AcceptanceRate", "DraftSource", "choose_draft_length", "count_accepted"]

_INITIAL_RATE = 0.8
_MAX_RATE = 0.99
_WEIGHT = 0.05
"""Weight of a new draft token in the running mean, which covers about the last 20.
"""


class DraftSource(Protocol):
    """Proposes draft tokens for one page."""

    def extend(self, tokens: list[int]) -> None:
        """Append tokens to the output that the drafts continue."""

    def draft(self, max_tokens: int) -> list[int]:
        """Return up to `max_tokens` draft tokens; an empty list if none are likely."""

    def reset(self) -> None:
        """Forget the output, because another attempt at the page begins."""


@dataclass
class AcceptanceRate:
    """Share of draft tokens that the model accepts, as a running mean.

    Draft tokens after the first rejected one are not counted: they cannot be accepted.
    """

    value: float = _INITIAL_RATE

    def update(self, num_accepted: int, *, has_rejection: bool) -> None:
        """Add accepted draft tokens, and the rejected one that follows, if any."""
        for result in [1.0] * num_accepted + [0.0] * has_rejection:
            self.value += _WEIGHT * (result - self.value)


def choose_draft_length(
    acceptance_rate: float, num_pages: int, max_verified_tokens: int
) -> int:
    """Return how many draft tokens of a page to verify in a step of `num_pages` pages.

    A forward pass costs about as much as verifying `max_verified_tokens` more tokens.
    The k-th draft token saves its page a pass with a probability of `acceptance_rate`
    to the power of k. All pages share a pass, so that saves 1 / `num_pages` of its
    cost. Draft tokens are worth verifying as long as they save more than they cost.
    Returns 0 if even the first one is not.
    """
    cost = num_pages / max_verified_tokens
    if acceptance_rate <= cost:
        return 0
    return int(math.log(cost) / math.log(min(acceptance_rate, _MAX_RATE)))


def count_accepted(draft: list[int], tokens: list[int]) -> int:
    """Return the number of leading draft tokens that equal the model's `tokens`."""
    count = 0
    while count < len(draft) and draft[count] == tokens[count]:
        count += 1
    return count
