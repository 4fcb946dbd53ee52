"""Lengths of the answers that every system must generate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["Lengths"]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Clipped lognormal distribution of the number of answer tokens."""

    median: int
    sigma: float
    """Standard deviation of the logarithm."""
    fewest: int
    most: int

    def quantiles(self, count: int) -> list[int]:
        """Return quantiles of the distribution in a low-discrepancy order.

        Each prefix of the list is spread like the whole distribution, so a run may stop
        early. The lengths are not random, so that every system does the same work.
        """
        return [self._quantile(_spread(number)) for number in range(1, count + 1)]

    def _quantile(self, share: float) -> int:
        logarithm = NormalDist(math.log(self.median), self.sigma).inv_cdf(share)
        return min(self.most, max(self.fewest, round(math.exp(logarithm))))


def _spread(number: int) -> float:
    """Return an element of the van der Corput sequence: 1/2, 1/4, 3/4, 1/8, ..."""
    digits = f"{number:b}"[::-1]
    return int(digits, 2) / (1 << len(digits))
