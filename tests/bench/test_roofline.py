"""Roofline model, compared with numbers calculated by hand."""

from __future__ import annotations

import pytest

from bench.costs.roofline import A10G, H200, Costs, Decode, DeviceRates, Prefill
from bench.teacher_forcing.geometry import GEOMETRIES, empty_module

CHANDRA = GEOMETRIES["chandra"]
A4 = Prefill(0, 4000, num_patches=14_000)
"""A4 page at 192 dpi, with 3,500 image tokens and 500 of the prompt."""


@pytest.fixture(scope="module")
def costs() -> Costs:
    return Costs.of_module(empty_module(CHANDRA))


def test_the_geometry_is_chandra_1s(costs):
    assert round(costs.total / 1e9, 3) == 8.767
    assert round(costs.layers / 1e9, 3) == 6.946
    assert round(costs.lm_head / 1e9, 3) == 0.622
    assert round(costs.vision_blocks / 1e9, 3) == 0.411
    assert round(costs.vision_mergers / 1e9, 3) == 0.160
    assert costs.cache_bytes == 144 * 1024


@pytest.mark.parametrize(
    ("rates", "num_pages", "tokens_per_second"),
    [
        (H200, 1, 258),
        (H200, 8, 1587),
        (H200, 32, 3544),
        (H200, 64, 4460),
        (A10G, 1, 32),
        (A10G, 5, 138),
    ],
)
def test_decode_reads_weights_and_cache(costs, rates, num_pages, tokens_per_second):
    # Each page has 4,000 prompt tokens and half of its 1,200 answer tokens.
    work = Decode(num_pages, num_pages, num_pages * 4600)

    speed = num_pages / costs.seconds(work, rates)

    assert speed == pytest.approx(tokens_per_second, abs=0.5)


def test_decode_of_many_tokens_is_bound_by_multiplying(costs):
    work = Decode(64, 64 * 9, 64 * 4600)

    flops = 2 * 7.568e9 * 64 * 9
    assert costs.seconds(work, A10G) == pytest.approx(flops / A10G.flops, rel=1e-3)


@pytest.mark.parametrize(("rates", "seconds"), [(A10G, 2.32), (H200, 0.20)])
def test_prefill_multiplies(costs, rates, seconds):
    text = Prefill(0, 4000)

    assert costs.prefill_flops(text) / 1e12 == pytest.approx(60, abs=0.5)
    assert costs.prefill_flops(A4) / 1e12 == pytest.approx(97, abs=0.5)
    assert costs.seconds(A4, rates) == pytest.approx(seconds, abs=0.005)


def test_chunks_of_a_prompt_cost_as_much_as_the_whole(costs):
    chunks = [Prefill(0, 1024, 14_000), Prefill(1024, 2000), Prefill(3024, 976)]

    in_chunks = sum(costs.prefill_flops(chunk) for chunk in chunks)

    assert in_chunks == pytest.approx(costs.prefill_flops(A4))


def test_batch_takes_as_many_steps_as_its_longest_page(costs):
    rates = DeviceRates(bandwidth=1.0, flops=1e30)
    weights, place = 2 * (costs.layers + costs.lm_head), costs.cache_bytes

    seconds = costs.seconds_together([(Prefill(0, 10), 2), (Prefill(0, 20), 3)], rates)

    assert seconds == pytest.approx(2 * weights + (11 + 21 + 22) * place)
