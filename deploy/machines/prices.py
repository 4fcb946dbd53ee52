"""What machines cost, as far as we know."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

from deploy.config import EndpointTable
from deploy.machines.catalogue import HOURS_A_DAY, HOURS_A_MONTH, INSTANCES, PRICE_NOTE

__all__ = ["dollars", "hourly", "most_an_hour", "price_lines", "rate"]


def hourly(instance_type: str, instance_count: int = 1) -> float | None:
    """US dollars an hour, or None where we know no price."""
    known = INSTANCES.get(instance_type)
    return None if known is None else known.price * instance_count


def most_an_hour(instance_types: Sequence[str], instance_count: int) -> float | None:
    """US dollars an hour on the dearest of the types, or None where one is unknown."""
    prices = [hourly(name, instance_count) for name in instance_types]
    known = [price for price in prices if price is not None]
    return max(known) if known and len(known) == len(prices) else None


def dollars(amount: float) -> str:
    """To the cent, as people round: half a cent is up."""
    # Sums of floats are off by far less than a millionth.
    exact = Decimal(f"{amount:.6f}")
    return f"${exact.quantize(Decimal('0.01'), ROUND_HALF_UP):,}"


def rate(an_hour: float) -> str:
    """As the price list has it: some machines cost a fraction of a cent."""
    whole, _, cents = f"{an_hour:,.4f}".partition(".")
    return f"${whole}.{cents.rstrip('0').ljust(2, '0')}"


def price_lines(machines: EndpointTable) -> list[str]:
    """By the hour, the day and the month, for each type that may be taken."""
    lines = []
    instance_count = machines.instance_count
    for name in machines.instance_types:
        price = hourly(name, instance_count)
        if price is None:
            lines.append(f"{instance_count} x {name}: price not known here")
            continue
        lines.append(
            f"{instance_count} x {name}: {rate(price)} an hour, "
            f"{dollars(price * HOURS_A_DAY)} a day, "
            f"{dollars(price * HOURS_A_MONTH)} a month"
        )
    return [*lines, f"({PRICE_NOTE})"]
