"""Prices of machines, to the cent."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest

from deploy.config import EndpointTable
from deploy.machines.catalogue import HOURS_A_DAY, HOURS_A_MONTH, INSTANCES
from deploy.machines.prices import dollars, hourly_price, price_lines, price_text
from deploy.machines.throughput import rate_of


@pytest.mark.parametrize("hours", [1, 11, HOURS_A_DAY, 7 * HOURS_A_DAY, HOURS_A_MONTH])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_half_cents_are_rounded_up(count, hours):
    for name, instance in INSTANCES.items():
        price = hourly_price(name, count)
        assert price is not None
        exact = Decimal(str(instance.price)) * count * hours
        cents = exact.quantize(Decimal("0.01"), ROUND_HALF_UP)

        assert dollars(price * hours) == f"${cents:,}", name


@pytest.mark.parametrize(
    ("price", "text"),
    [(1.515, "$1.515"), (2.8, "$2.80"), (0.7364, "$0.7364"), (63.296, "$63.296"),
     (1515.0, "$1,515.00"), (3 * 1.515, "$4.545")],
)  # fmt: skip
def test_hourly_price_has_two_to_four_decimals(price, text):
    assert price_text(price) == text


def test_prices_of_day_and_month_follow_from_the_hour():
    line, _ = price_lines(EndpointTable(instance_types=("ml.g5.2xlarge",)))

    assert line == (
        "1 x ml.g5.2xlarge: $1.515 an hour, $36.36 a day, $1,105.95 a month"
    )


@pytest.mark.parametrize(
    ("gpu", "device", "is_used"),
    [
        ("L4", "NVIDIA L40S", False),
        ("L4", "NVIDIA L4", True),
        ("A100", "NVIDIA A100-SXM4-40GB", True),
        ("RTX PRO 6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition", True),
    ],
)
def test_measurement_is_used_for_its_own_gpu_only(tmp_path, gpu, device, is_used):
    (tmp_path / "gpu.json").write_text(
        f'{{"device": "{device}", "geometry": "chandra", "pages_per_second": 7}}'
    )

    measured_rate = rate_of(gpu, tmp_path)

    assert (measured_rate is not None and measured_rate.together == 7) is is_used
