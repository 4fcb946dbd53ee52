"""How long the answers are that every system has to give."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["Lengths"]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of an answer: lognormal, clipped."""

    median: int
    sigma: float
    """Of the logarithm."""
    fewest: int
    most: int

    def forced(self, count: int) -> list[int]:
        """The distribution's quantiles, in an order that has no short end.

        However few of them a run gets through, these are spread like all of them;
        and nothing is drawn, so that every system has the same to do.
        """
        return [self._quantile(_spread(number)) for number in range(1, count + 1)]

    def _quantile(self, share: float) -> int:
        logarithm = NormalDist(math.log(self.median), self.sigma).inv_cdf(share)
        return min(self.most, max(self.fewest, round(math.exp(logarithm))))


def _spread(number: int) -> float:
    """1, 2, 3, 4 .. to 1/2, 1/4, 3/4, 1/8 ..: van der Corput's sequence."""
    digits = f"{number:b}"[::-1]
    return int(digits, 2) / (1 << len(digits))
