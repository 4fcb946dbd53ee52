"""What moto's CloudWatch makes of values, and percentiles, which it does not know."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

__all__ = ["percentile", "statistic_of"]

PLAIN = {
    "Sum": "sum",
    "Average": "average",
    "Minimum": "minimum",
    "Maximum": "maximum",
    "SampleCount": "sample_count",
}
PERCENTILE = re.compile(r"p(\d{1,3}(?:\.\d+)?)")


def statistic_of(statistics: Any, name: str) -> float | None:
    """In place of moto's `Statistics.get_statistics_for_type`, with `p50` and the like.

    Of values themselves only, as CloudWatch has them.
    """
    if name in PLAIN:
        value: float | None = getattr(statistics, PLAIN[name])
        return value
    found = PERCENTILE.fullmatch(name)
    if found is None:
        return None
    return percentile(statistics.metric_single_values_list, float(found[1]))


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The nearest rank: of so many in a hundred, none is above it."""
    ordered = sorted(values)
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(rank, 1) - 1] if ordered else None
