"""Growth of memory over a run."""

from __future__ import annotations

import pytest

from bench.soak.memory import MemorySamples


def make_samples(megabytes) -> MemorySamples:
    return MemorySamples(
        [(pages, {"engine": megabytes(pages)}) for pages in range(101)]
    )


def test_constant_memory_has_not_grown():
    assert make_samples(lambda pages: 500.0).growth("engine", 100) == 1.0


def test_initial_growth_does_not_count():
    assert (
        make_samples(lambda pages: min(500, 300 + 10 * pages)).growth("engine", 100)
        == 1
    )


def test_growth_with_every_page_is_detected():
    leak = make_samples(lambda pages: 500 + pages).growth("engine", 100)

    assert leak == pytest.approx(588 / 563, abs=0.01)
