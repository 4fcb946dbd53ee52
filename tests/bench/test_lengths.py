"""Lengths that are forced."""

from __future__ import annotations

import statistics

from bench.lengths import Lengths


def test_lengths_are_lognormal_however_few_are_taken():
    lengths = Lengths(median=950, sigma=0.65, fewest=200, most=3000)

    assert lengths.forced(3) == [950, 613, 1473]
    many = lengths.forced(255)
    assert statistics.median(many) == 950
    assert (min(many), max(many)) == (200, 3000)
    assert many[:64] == lengths.forced(64)
