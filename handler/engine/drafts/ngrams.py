"""N-gram drafts: repeat the tokens that followed the same tokens earlier on the page.

The module works on integers only.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["NgramProposer"]

LENGTHS = (8, 6, 4, 3, 2)
"""Lengths of the n-grams that are looked up, the longest and most reliable first."""


class NgramProposer:
    """Proposes draft tokens from the output so far.

    Remembers, for each n-gram of the output, the position after its last occurrence.
    """

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._last: dict[tuple[int, ...], int] = {}

    def append(self, token: int) -> None:
        """Add one token of the output."""
        tokens = self._tokens
        # The n-grams that end before this token get it as their continuation.
        position = len(tokens)
        for length in LENGTHS:
            if length <= position:
                self._last[tuple(tokens[position - length :])] = position
        tokens.append(token)

    def propose(
        self, num_tokens: int, *, min_length: int, draft: Sequence[int] = ()
    ) -> list[int]:
        """Return `num_tokens` draft tokens; an empty list if no n-gram is known.

        They are what followed the last occurrence of the longest known n-gram that ends
        the output and `draft`, which are draft tokens already proposed. N-grams shorter
        than `min_length` are not used.
        """
        recent = (*self._tokens[-LENGTHS[0] :], *draft)
        for length in LENGTHS:
            if length < min_length:
                break
            position = self._last.get(recent[-length:])
            if position is not None:
                return self._copy(position, num_tokens, draft)
        return []

    def _copy(self, position: int, num_tokens: int, draft: Sequence[int]) -> list[int]:
        """Copy `num_tokens` tokens of the output from a position on."""
        copied = self._tokens[position : position + num_tokens]
        if len(copied) < num_tokens:
            # The output repeats itself, so the draft continues the repetition.
            period = [*copied, *draft]
            repeats = num_tokens // len(period) + 1
            copied = (period * repeats)[:num_tokens]
        return copied
