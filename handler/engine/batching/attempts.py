"""Retries of pages on which the model repeats itself, at a higher temperature.

As in chandra-ocr, the first attempt decodes greedily, unless the request sets a
temperature, and the others sample. The module is independent of the engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from handler.engine.request import GREEDY, EngineOutput, FinishReason, Sampling

__all__ = ["RETRIES", "PageAttempt", "PageAttempts"]

# chandra-ocr 0.1.8, model.vllm: all retries have the same temperature.
_CHANDRA_1 = (Sampling(temperature=0.3, top_p=0.95),)

# chandra-ocr 0.2.0: each retry adds 0.2 to the temperature, up to 0.8.
_CHANDRA_2 = tuple(Sampling(temperature=n / 5, top_p=0.95) for n in (1, 2, 3, 4))

RETRIES: Mapping[str, tuple[Sampling, ...]] = {
    "chandra": _CHANDRA_1,
    "chandra-2": _CHANDRA_2,
    "mini": _CHANDRA_1,
}
"""Sampling of the attempts after the first, by profile. Further attempts use the last
entry."""


@dataclass(frozen=True, slots=True)
class PageAttempt:
    """Result of one attempt at a page."""

    text: str = field(repr=False)
    finish_reason: FinishReason
    num_tokens: int
    repeats_at: int | None
    """Characters before the first repetition (`find_repetition`); None without one."""

    @property
    def is_clean(self) -> bool:
        """True if the text does not repeat itself."""
        return self.repeats_at is None


class PageAttempts:
    """Attempts at one page: whether and how to retry, and which attempt counts."""

    def __init__(
        self,
        retries: tuple[Sampling, ...],
        *,
        max_attempts: int,
        first: Sampling = GREEDY,
    ) -> None:
        # A retry never has a lower temperature than the first attempt.
        hotter = (s if s.temperature > first.temperature else first for s in retries)
        self._samplings = (first, *hotter)
        self._max_attempts = max_attempts
        self._attempts: list[PageAttempt] = []

    def add(self, attempt: PageAttempt) -> None:
        """Add an attempt that has ended."""
        self._attempts.append(attempt)

    @property
    def num_attempts(self) -> int:
        """Number of attempts that have ended."""
        return len(self._attempts)

    @property
    def sampling(self) -> Sampling:
        """Sampling of the current or next attempt."""
        return self._samplings[min(self.num_attempts, len(self._samplings) - 1)]

    @property
    def is_over(self) -> bool:
        """True if an attempt is clean, or if no attempt is left."""
        if self.num_attempts >= self._max_attempts:
            return True
        return any(attempt.is_clean for attempt in self._attempts)

    @property
    def best(self) -> PageAttempt:
        """The clean attempt, or else the one with most text before its repetition.

        Its text includes the repetition. Among equal attempts the first counts, because
        it has the lowest temperature. At least one attempt must have ended.
        """
        return max(self._attempts, key=_rank_attempt)

    def build_output(self, engine_request_id: str) -> EngineOutput:
        """Return the output of a page with the text of the best attempt."""
        best = self.best
        return EngineOutput(
            engine_request_id,
            best.finish_reason,
            text=best.text,
            num_output_tokens=best.num_tokens,
            num_attempts=self.num_attempts,
            has_repetition=not best.is_clean,
        )


def _rank_attempt(attempt: PageAttempt) -> tuple[bool, int]:
    """Return a key for comparing attempts; that of the better one is larger."""
    if attempt.repeats_at is None:
        return True, len(attempt.text)
    return False, attempt.repeats_at
