"""What followed the last time a page said the same. Integers only."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Ngrams"]

LENGTHS = (8, 6, 4, 3, 2)
"""Tokens that must be the same, the most telling first."""


class Ngrams:
    """Where in a growing list of tokens each run of a few was last seen."""

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._last: dict[tuple[int, ...], int] = {}

    def append(self, token: int) -> None:
        tokens = self._tokens
        # Only now is it known what followed the runs that end here.
        position = len(tokens)
        for length in LENGTHS:
            if length <= position:
                self._last[tuple(tokens[position - length :])] = position
        tokens.append(token)

    def following(
        self, num_tokens: int, *, min_length: int, guessed: Sequence[int] = ()
    ) -> list[int]:
        """What came after the longest known run that ends the tokens and `guessed`."""
        recent = (*self._tokens[-LENGTHS[0] :], *guessed)
        for length in LENGTHS:
            if length < min_length:
                break
            position = self._last.get(recent[-length:])
            if position is not None:
                return self._copied(position, num_tokens, guessed)
        return []

    def _copied(
        self, position: int, num_tokens: int, guessed: Sequence[int]
    ) -> list[int]:
        copied = self._tokens[position : position + num_tokens]
        if len(copied) < num_tokens:
            # What repeats itself goes on doing so: copy from the copy.
            period = [*copied, *guessed]
            repeats = num_tokens // len(period) + 1
            copied = (period * repeats)[:num_tokens]
        return copied
