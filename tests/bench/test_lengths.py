"""Forced lengths."""

from __future__ import annotations

import statistics

from bench.teacher_forcing.lengths import Lengths


def test_every_prefix_of_lengths_is_lognormal():
    lengths = Lengths(median=950, sigma=0.65, fewest=200, most=3000)

    assert lengths.quantiles(3) == [950, 613, 1473]
    quantiles = lengths.quantiles(255)
    assert statistics.median(quantiles) == 950
    assert (min(quantiles), max(quantiles)) == (200, 3000)
    assert quantiles[:64] == lengths.quantiles(64)
