"""Retry pages on which the model repeats itself, at a higher temperature.

The first attempt takes the likeliest tokens, as chandra-ocr does, unless the request
has a temperature; the others draw.
Knows nothing of how a page is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from handler.engine.request import GREEDY, FinishReason, Sampling

__all__ = ["RETRIES", "Attempt", "Attempts"]

# chandra-ocr 0.1.8, model.vllm: the same each time.
_CHANDRA_1 = (Sampling(temperature=0.3, top_p=0.95),)

# chandra-ocr 0.2.0: a fifth more each time, up to 0.8.
_CHANDRA_2 = tuple(Sampling(temperature=n / 5, top_p=0.95) for n in (1, 2, 3, 4))

RETRIES: Mapping[str, tuple[Sampling, ...]] = {
    "chandra": _CHANDRA_1,
    "chandra-2": _CHANDRA_2,
    "mini": _CHANDRA_1,
}
"""By profile, how to sample after the first attempt; the last one stays."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one reading of a page gave."""

    text: str = field(repr=False)
    finish_reason: FinishReason
    num_tokens: int
    repeats_at: int | None
    """`repetition_start(text)`: characters before a loop, None where there is none."""

    @property
    def is_clean(self) -> bool:
        return self.repeats_at is None


class Attempts:
    """The readings of one page: whether another is due, how, and which one counts."""

    def __init__(
        self,
        retries: tuple[Sampling, ...],
        *,
        max_attempts: int,
        first: Sampling = GREEDY,
    ) -> None:
        # No retry is cooler than the first attempt.
        hotter = (s if s.temperature > first.temperature else first for s in retries)
        self._samplings = (first, *hotter)
        self._max_attempts = max_attempts
        self._attempts: list[Attempt] = []

    def add(self, attempt: Attempt) -> None:
        """Take note of the attempt that has just ended."""
        self._attempts.append(attempt)

    @property
    def num_attempts(self) -> int:
        """Those that have ended."""
        return len(self._attempts)

    @property
    def sampling(self) -> Sampling:
        """For the attempt that is being made, or comes next."""
        return self._samplings[min(self.num_attempts, len(self._samplings) - 1)]

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to gain, or nothing left to try."""
        if self.num_attempts >= self._max_attempts:
            return True
        return any(attempt.is_clean for attempt in self._attempts)

    @property
    def best(self) -> Attempt:
        """A clean one; else the one that says most before it repeats itself.

        Its text is all of it, the repetition included. Of equals the first, which
        was the least left to chance. At least one attempt has ended.
        """
        return max(self._attempts, key=_worth)


def _worth(attempt: Attempt) -> tuple[bool, int]:
    if attempt.repeats_at is None:
        return True, len(attempt.text)
    return False, attempt.repeats_at
