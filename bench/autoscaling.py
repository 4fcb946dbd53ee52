"""Simulation of autoscaling policies: how many documents does scale-in cut off?

It simulates days with bursts of documents. Only the pages per second may be measured,
in `bench/results`. Without such a file they are an estimate of the roofline, and
`measured_in` in the last line is null.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.fleet import (
    DAY,
    MINUTE,
    Day,
    Machine,
    Policy,
    make_documents_of_a_day,
    simulate_day,
)
from bench.report import finish, say
from deploy.config import AsynchronousTable, DeployConfig, EndpointTable
from deploy.machines.catalogue import INSTANCES, PRICE_NOTE
from deploy.machines.throughput import rate_of
from deploy.queue.endpoint import compute_concurrency

__all__ = ["AS_DEPLOYED", "load_machine", "make_policies", "simulate_policies"]

BENCH = Path(__file__).parent
INSTANCE = "ml.g6e.2xlarge"
START_SECONDS = 8 * 60
NUM_DAYS = 5
TABLE = AsynchronousTable(bucket="simulated", max_instances=4)
AS_DEPLOYED = "as deployed"
IDLE_10_MINUTES = "as deployed, idle for 10 minutes"
TRACKING = "target tracking both ways"
EMPTY_15_MINUTES = "empty queue for 15 minutes"
IGNORES_GPUS = "empty queue for longer than a document takes"


def make_policies(table: AsynchronousTable = TABLE) -> dict[str, Policy]:
    """Return the policy of `async deploy` and alternatives, by name."""
    minutes = table.idle // MINUTE

    def policy(idle_minutes: int | None, *, sees_gpus: bool) -> Policy:
        return Policy(
            target=table.backlog_per_instance,
            min_machines=table.min_instances,
            max_machines=table.max_instances,
            scale_out_seconds=table.scale_out_seconds,
            scale_in_cooldown=table.idle,
            tracks_down=idle_minutes is None,
            idle_minutes=idle_minutes,
            sees_gpus=sees_gpus,
        )

    return {
        AS_DEPLOYED: policy(minutes, sees_gpus=True),
        IDLE_10_MINUTES: policy(10, sees_gpus=True),
        TRACKING: policy(None, sees_gpus=False),
        EMPTY_15_MINUTES: policy(15, sees_gpus=False),
        IGNORES_GPUS: policy(minutes, sees_gpus=False),
    }


def load_machine(name: str, results: Path) -> tuple[Machine, str | None]:
    """Return a machine of this type, and the name of the file with its measured rate.

    The name is None if the rate is an estimate. Raise SystemExit if there is neither.
    """
    instance = INSTANCES[name]
    rate = rate_of(instance.gpu.name, results)
    if rate is None:
        raise SystemExit(
            f"there is no measurement or estimate of pages per second for {name}"
        )
    config = DeployConfig(endpoint=EndpointTable(instance_types=(name,)))
    machine = Machine(
        single=rate.single * instance.num_gpus,
        together=rate.together * instance.num_gpus,
        concurrency=compute_concurrency(config),
        start_seconds=START_SECONDS,
        price=instance.price,
    )
    return machine, rate.measured_in


def simulate_policies(
    machine: Machine, policies_by_name: Mapping[str, Policy], seeds: Sequence[int]
) -> dict[str, list[Day]]:
    """Simulate the same days, one per seed, under each policy; return them by name."""
    return {
        name: [
            simulate_day(make_documents_of_a_day(seed), machine, policy)
            for seed in seeds
        ]
        for name, policy in policies_by_name.items()
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, plot the first day, and print the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--instance-type",
        default=INSTANCE,
        choices=tuple(INSTANCES),
        help=f"SageMaker instance type (default {INSTANCE})",
    )
    parser.add_argument(
        "--days",
        type=int,
        default=NUM_DAYS,
        help=f"number of simulated days (default {NUM_DAYS})",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        default=BENCH / "autoscaling.png",
        help="output file (default bench/autoscaling.png)",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=BENCH / "results",
        help="folder of measurements (default bench/results)",
    )
    options = parser.parse_args(arguments)
    machine, measured_in = load_machine(options.instance_type, options.results)
    days = simulate_policies(machine, make_policies(), range(options.days))
    basis = measured_in or "an estimate by the roofline"
    say(f"{options.days} days on {options.instance_type}; {PRICE_NOTE}")
    say(f"{machine.together:.3f} pages/s: {basis}")
    say(f"{'':46}{'cut off':>8}{'of':>6}{'pages':>8}{'cost':>10}{'per 1,000':>11}")
    totals = {name: _sum_days(days_of_policy) for name, days_of_policy in days.items()}
    for name, total in totals.items():
        say(
            f"{name:46}{total['cut']:8,.0f}{total['documents']:6,.0f}"
            f"{total['pages']:8,.0f}{total['cost']:10,.2f}{total['per_thousand']:11,.2f}"
        )
    _plot(days, options.plot, options.instance_type, basis)
    chosen = totals[AS_DEPLOYED]
    finish(
        "autoscaling",
        {
            "cut_off_as_deployed": chosen["cut"] / chosen["documents"],
            "cut_off_by_target_tracking": totals[TRACKING]["cut"]
            / totals[TRACKING]["documents"],
            "cost_vs_idle_for_10_minutes": chosen["cost"]
            / totals[IDLE_10_MINUTES]["cost"],
        },
        is_simulation=True,
        pages_per_second=machine.together,
        measured_in=measured_in,
        totals=totals,
    )


def _sum_days(days_of_policy: Sequence[Day]) -> dict[str, float]:
    pages = sum(day.pages_read() for day in days_of_policy)
    cost = sum(day.cost[-1] for day in days_of_policy)
    return {
        "cut": sum(len(day.cuts) for day in days_of_policy),
        "documents": sum(len(day.documents) for day in days_of_policy),
        "pages": pages,
        "cost": round(cost, 2),
        "per_thousand": round(cost / pages * 1000, 2),
        "longest_reading_seconds": max(day.longest_reading() for day in days_of_policy),
    }


def _plot(
    days: Mapping[str, Sequence[Day]], path: Path, instance_type: str, basis: str
) -> None:
    """Plot backlog, machines and cost of the first day under three policies."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = (AS_DEPLOYED, IDLE_10_MINUTES, TRACKING)
    figure, axes = plt.subplots(3, 3, figsize=(13, 7.5), sharex=True, sharey="row")
    for column, name in enumerate(shown):
        _plot_day(axes[:, column], days[name][0], name)
    for axis, label in zip(
        axes[:, 0], ("documents waiting", "machines", "US dollars"), strict=True
    ):
        axis.set_ylabel(label)
    figure.suptitle(
        f"Simulated: a day of bursts on {instance_type}, machines start in 8 minutes\n"
        f"pages a second: {basis}",
        fontsize=11,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)
    say(f"wrote {path.name}")


def _plot_day(axes: Any, day: Day, name: str) -> None:
    hours = [minute / MINUTE for minute in range(len(day.backlog))]
    backlog, machines, cost = axes
    backlog.set_title(f"{name}: {len(day.cuts)} cut off", fontsize=10)
    backlog.fill_between(hours, day.backlog, color="tab:blue", linewidth=0)
    machines.fill_between(
        hours, day.ordered, step="post", color="0.85", linewidth=0, label="paid for"
    )
    machines.step(hours, day.machines, where="post", color="tab:green", label="ready")
    machines.plot(
        [second / 3600 for second in day.cuts],
        [0.15] * len(day.cuts),
        "x",
        color="tab:red",
        label="document cut off",
    )
    machines.legend(fontsize=7, loc="upper left")
    cost.plot(hours, day.cost, color="tab:purple")
    cost.annotate(
        f"${day.cost[-1]:.0f}", (24, day.cost[-1]), ha="right", va="bottom", fontsize=9
    )
    cost.margins(y=0.15)
    cost.set_xlabel("hour of the day")
    cost.set_xlim(0, DAY / 3600)
    cost.set_xticks(range(0, 25, 4))


if __name__ == "__main__":
    main()
