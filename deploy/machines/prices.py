"""Prices of machines, from the catalogue, and their texts."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

from deploy.config import EndpointTable
from deploy.machines.catalogue import HOURS_A_DAY, HOURS_A_MONTH, INSTANCES, PRICE_NOTE

__all__ = [
    "dollars",
    "highest_hourly_price",
    "hourly_price",
    "price_lines",
    "price_text",
]


def hourly_price(instance_type: str, instance_count: int = 1) -> float | None:
    """Return the price of machines in US dollars an hour; None if it is not known."""
    known = INSTANCES.get(instance_type)
    return None if known is None else known.price * instance_count


def highest_hourly_price(
    instance_types: Sequence[str], instance_count: int
) -> float | None:
    """Return the price of the most expensive of several types, in US dollars an hour.

    Returns None if one of the prices is not known, or there is no type.
    """
    prices = [hourly_price(name, instance_count) for name in instance_types]
    known = [price for price in prices if price is not None]
    return max(known) if known and len(known) == len(prices) else None


def dollars(amount: float) -> str:
    """Return an amount as text, such as "$1,234.50"; half a cent is rounded up."""
    # The error of a sum of floats is far below a millionth.
    exact = Decimal(f"{amount:.6f}")
    return f"${exact.quantize(Decimal('0.01'), ROUND_HALF_UP):,}"


def price_text(an_hour: float) -> str:
    """Return a price an hour as text with two to four decimals, such as "$1.515"."""
    whole, _, cents = f"{an_hour:,.4f}".partition(".")
    return f"${whole}.{cents.rstrip('0').ljust(2, '0')}"


def price_lines(machines: EndpointTable) -> list[str]:
    """Return lines with the price of an hour, a day and a month for each instance type.

    A line says so if the price of its type is not known. The last line says where the
    prices hold.
    """
    lines = []
    instance_count = machines.instance_count
    for name in machines.instance_types:
        price = hourly_price(name, instance_count)
        if price is None:
            lines.append(f"{instance_count} x {name}: price not known here")
            continue
        lines.append(
            f"{instance_count} x {name}: {price_text(price)} an hour, "
            f"{dollars(price * HOURS_A_DAY)} a day, "
            f"{dollars(price * HOURS_A_MONTH)} a month"
        )
    return [*lines, f"({PRICE_NOTE})"]
