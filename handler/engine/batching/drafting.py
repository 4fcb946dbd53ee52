"""Where guesses of a page's next tokens come from, and how many are worth computing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Chance", "DraftSource", "num_equal", "worthwhile_drafts"]

_FIRST_CHANCE = 0.8
_SURE = 0.99
_LEARNING = 0.05
"""Weight of a new guess in the running mean: the last twenty or so count."""


class DraftSource(Protocol):
    """Guesses how a page goes on."""

    def extend(self, tokens: list[int]) -> None:
        """Take note of what was really said."""

    def draft(self, max_tokens: int) -> list[int]:
        """At most so many tokens that may come next; none where it cannot tell."""

    def reset(self) -> None:
        """Forget what was said: the page is read once more."""


@dataclass
class Chance:
    """That a guessed token is right, if those before it are: a running mean."""

    value: float = _FIRST_CHANCE

    def learn(self, num_right: int, *, is_refuted: bool) -> None:
        """Take note of right guesses, and of the wrong one that ended them."""
        for is_right in [1.0] * num_right + [0.0] * is_refuted:
            self.value += _LEARNING * (is_right - self.value)


def worthwhile_drafts(chance: float, num_pages: int, max_verified_tokens: int) -> int:
    """How many tokens of a page are worth guessing, if each is right by `chance`.

    A forward costs about what verifying `max_verified_tokens` more would. The k-th
    guess saves its page a forward with `chance` to the power of k, and the page's
    share of that forward is one part of `num_pages`.
    """
    share = num_pages / max_verified_tokens
    if chance <= share:
        return 0
    return int(math.log(share) / math.log(min(chance, _SURE)))


def num_equal(draft: list[int], tokens: list[int]) -> int:
    """How many guessed tokens are what the model said itself."""
    count = 0
    while count < len(draft) and draft[count] == tokens[count]:
        count += 1
    return count
