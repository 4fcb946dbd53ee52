"""Command `cost`: cost of a workload on each instance type."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.checks import config_findings
from deploy.commands.command import Command
from deploy.config import DeployConfig, EndpointTable
from deploy.console import table
from deploy.context import Context
from deploy.errors import ConfigError
from deploy.machines.catalogue import HOURS_A_DAY, INSTANCES, PRICE_NOTE, Instance
from deploy.machines.prices import dollars
from deploy.machines.throughput import ESTIMATE_NOTE, Rate, rate_of


@dataclass(frozen=True, slots=True)
class Offer:
    """Instance type for the whole workload, with its cost."""

    name: str
    instance: Instance
    rate: Rate
    num_pages: int
    hours_a_day: float

    def pages_an_hour(self, *, together: bool) -> float:
        """Return pages per hour, one at a time or, with `together`, many at once."""
        a_second = self.rate.together if together else self.rate.single
        return a_second * 3600 * self.instance.num_gpus

    def is_measured(self, *, together: bool) -> bool:
        source = self.rate.measured_in if together else self.rate.single_measured_in
        return source is not None

    def num_machines(self, *, together: bool) -> int:
        """Return how many machines read all pages of a day; at least one."""
        capacity = self.pages_an_hour(together=together) * self.hours_a_day
        return max(1, math.ceil(self.num_pages / capacity))

    def cost_a_day(self, *, together: bool) -> float:
        """Return US dollars per day; machines run all hours, busy or not."""
        machines = self.num_machines(together=together)
        return machines * self.instance.price * self.hours_a_day

    def cost_of_thousand_pages(self, *, together: bool) -> float:
        """Return US dollars per 1,000 pages on machines that are always busy."""
        return self.instance.price / self.pages_an_hour(together=together) * 1000

    def to_json(self) -> dict[str, Any]:
        return {
            "instance_type": self.name,
            "measured_in": self.rate.measured_in,
            "price_an_hour": self.instance.price,
        } | {
            label: {
                "is_measured": self.is_measured(together=together),
                "pages_an_hour": self.pages_an_hour(together=together),
                "machines": self.num_machines(together=together),
                "a_day": self.cost_a_day(together=together),
                "a_thousand_pages": self.cost_of_thousand_pages(together=together),
            }
            for label, together in (("single", False), ("together", True))
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pages-a-day",
        type=int,
        default=1000,
        metavar="N",
        help="pages per day (default 1000)",
    )
    parser.add_argument(
        "--hours-a-day",
        type=float,
        default=float(HOURS_A_DAY),
        metavar="H",
        help="hours per day that the endpoint runs (default 24)",
    )
    parser.add_argument(
        "--instance-type",
        action="append",
        metavar="TYPE",
        help="compare only this instance type; may be repeated",
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FOLDER",
        help="folder with measurements of pages per second (default: those of this "
        "package)",
    )


def run(context: Context, options: argparse.Namespace) -> int:
    if options.pages_a_day < 1:
        raise ConfigError(
            "--pages-a-day must be at least 1", hint="chandra-sagemaker cost --help"
        )
    if not 0 < options.hours_a_day <= HOURS_A_DAY:
        raise ConfigError(
            "--hours-a-day must be above 0 and at most 24",
            hint="chandra-sagemaker cost --help",
        )
    offers = [
        Offer(name, INSTANCES[name], rate, options.pages_a_day, options.hours_a_day)
        for name in options.instance_type or INSTANCES
        if _rejection_reason(context.config, name) is None
        and (rate := rate_of(INSTANCES[name].gpu.name, options.results)) is not None
    ]
    offered = {offer.name for offer in offers}
    left_out = {
        name: _rejection_reason(context.config, name)
        or f"the pages per second of {name} are neither measured nor estimated"
        for name in options.instance_type or INSTANCES
        if name not in offered
    }
    if not offers:
        raise ConfigError(
            "; ".join(left_out.values()), hint="chandra-sagemaker cost compares all"
        )
    for reason in left_out.values():
        context.console.warn(f"note: {reason}")
    offers.sort(key=lambda offer: offer.cost_a_day(together=False))
    context.console.print_result(
        {
            "pages_a_day": options.pages_a_day,
            "hours_a_day": options.hours_a_day,
            "note": ESTIMATE_NOTE if _has_estimates(offers) else None,
            "prices": PRICE_NOTE,
            "offers": [offer.to_json() for offer in offers],
            "left_out": left_out,
        },
        _offer_lines(offers, options.pages_a_day, options.hours_a_day),
    )
    return 0


def _rejection_reason(config: DeployConfig, name: str) -> str | None:
    """Return why a deployment on an instance type is rejected; None if it is not."""
    if name not in INSTANCES:
        return f"{name} is not in the catalogue"
    only = EndpointTable(instance_types=(name,), ami=config.endpoint.ami)
    candidate = DeployConfig(
        image=config.image, model=config.model, endpoint=only, network=config.network
    )
    fatal = [finding for finding in config_findings(candidate) if finding.is_fatal]
    return fatal[0].sentence if fatal else None


def _has_estimates(offers: list[Offer]) -> bool:
    return not all(
        offer.is_measured(together=together)
        for offer in offers
        for together in (False, True)
    )


def _offer_lines(offers: list[Offer], num_pages: int, hours: float) -> list[str]:
    lines = [f"{num_pages:,} pages a day, endpoint running {hours:g} h a day", ""]
    for title, together in (
        ("one page at a time", False),
        ("many pages at once", True),
    ):
        ordered = sorted(offers, key=lambda offer: offer.cost_a_day(together=together))
        rows = [
            (
                offer.name,
                f"{offer.pages_an_hour(together=together):,.0f}",
                str(offer.num_machines(together=together)),
                dollars(offer.cost_a_day(together=together)),
                dollars(offer.cost_of_thousand_pages(together=together)),
                "measured" if offer.is_measured(together=together) else "estimate",
            )
            for offer in ordered
        ]
        lines += [
            title,
            *table(
                [
                    ("TYPE", "PAGES/H", "MACHINES", "A DAY", "1,000 PAGES, BUSY", ""),
                    *rows,
                ]
            ),
            "",
        ]
    if _has_estimates(offers):
        lines.append(ESTIMATE_NOTE)
    lines.append(f"prices: {PRICE_NOTE}")
    if hours < HOURS_A_DAY:
        # The endpoint is already stopped for part of the day.
        return lines
    cheapest = min(offers, key=lambda offer: offer.instance.price)
    night = cheapest.instance.price * (HOURS_A_DAY - 11)
    lines.append(
        f"stopping {cheapest.name} from 19:00 to 08:00 saves {dollars(night)} a day "
        "for each machine: chandra-sagemaker schedule"
    )
    return lines


COMMAND = Command(
    run=run,
    description="Compare the cost of a workload on each instance type, and what "
    "stopping the endpoint saves.",
    examples=(
        "cost --pages-a-day 20000",
        "cost --pages-a-day 20000 --hours-a-day 10 --instance-type ml.g6e.2xlarge",
    ),
    add_arguments=add_arguments,
)
