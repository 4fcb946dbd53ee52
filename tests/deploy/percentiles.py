"""Percentiles for moto's CloudWatch, which knows sums, means and extremes only."""

from __future__ import annotations

import math
import re
from typing import Any

from moto.cloudwatch.models import Statistics

__all__ = ["with_percentiles"]

PERCENTILE = re.compile(r"p(\d{1,3}(?:\.\d+)?)")
plain = Statistics.get_statistics_for_type


def with_percentiles(statistics: Statistics, stat: str) -> Any:
    """In place of moto's method; of values themselves only, as CloudWatch has them."""
    found = PERCENTILE.fullmatch(stat)
    if found is None:
        return plain(statistics, stat)
    return percentile(statistics.metric_single_values_list, float(found[1]))


def percentile(values: list[float], percent: float) -> float | None:
    """The nearest rank: of so many in a hundred, none is above it."""
    ordered = sorted(values)
    rank = math.ceil(percent / 100 * len(ordered))
    return ordered[max(rank, 1) - 1] if ordered else None
