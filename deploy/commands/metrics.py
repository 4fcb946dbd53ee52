"""Latency, requests, errors, GPU and disk, as a small table or a picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from deploy.aws.metrics import Series, read_metrics
from deploy.commands.context import Context
from deploy.commands.either import add_async_argument, endpoint_of
from deploy.commands.logs import age
from deploy.console import table
from deploy.errors import ConfigError
from deploy.monitoring import METRICS, QUEUE_METRICS

NAME = "metrics"
HELP = "show latency, requests, errors, GPU, memory and disk"

BARS = "▁▂▃▄▅▆▇█"
NUM_POINTS = 24
# CloudWatch keeps minutes for two weeks.
LEAST_PERIOD = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since", default="3h", metavar="AGE", help="30m, 3h or 7d (default 3h)"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw them; needs matplotlib"
    )
    add_async_argument(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    span = age(options.since)
    period = int(span.total_seconds() / NUM_POINTS) // LEAST_PERIOD * LEAST_PERIOD
    name = endpoint_of(context, options)
    series = read_metrics(
        context.aws,
        name,
        start=context.now - span,
        end=context.now,
        period_seconds=max(LEAST_PERIOD, period),
        metrics=QUEUE_METRICS if options.is_async else METRICS,
    )
    lines = table(
        [
            ("", "LATEST", "TOTAL OR MEAN", "HIGHEST", f"LAST {options.since.upper()}"),
            *(_row(one) for one in series),
        ]
    )
    if options.plot is not None and not context.is_dry_run:
        _plot(series, name, options.plot)
        lines.append(f"wrote {options.plot}")
    context.console.result(
        {
            one.metric.label: [
                {"time": when, "value": value}
                for when, value in zip(one.times, one.values, strict=True)
            ]
            for one in series
        },
        lines,
    )
    return 0


def _row(series: Series) -> tuple[str, ...]:
    metric, values = series.metric, series.values
    if not values:
        return (metric.label, "-", "-", "-", "")
    whole = sum(values) if metric.is_counted else sum(values) / len(values)
    return (
        metric.label,
        *(f"{value:.4g}{metric.unit}" for value in (values[-1], whole, max(values))),
        _bars(values),
    )


def _bars(values: Sequence[float]) -> str:
    top = max(values) or 1.0
    return "".join(BARS[min(7, int(8 * max(0.0, v) / top))] for v in values)


def _groups(series: Sequence[Series]) -> list[tuple[str, list[Series]]]:
    """Those of one kind and unit, for one set of axes each."""
    groups: dict[str, list[Series]] = {}
    for one in series:
        metric = one.metric
        if metric.unit == "%":
            what = "GPU, %" if metric.label.startswith("GPU") else "machine, %"
        elif metric.unit == "s":
            what = "seconds"
        else:
            what = "requests" if metric.of_variant else "queue"
        groups.setdefault(what, []).append(one)
    return list(groups.items())


def _plot(series: Sequence[Series], title: str, path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "--plot needs matplotlib", hint="pip install matplotlib"
        ) from error
    groups = _groups(series)
    figure = Figure(figsize=(10, 2 * len(groups)), layout="constrained")
    axes = figure.subplots(len(groups), 1, sharex=True)
    for axis, (label, members) in zip(axes, groups, strict=True):
        for one in members:
            axis.plot(one.times, one.values, marker=".", label=one.metric.label)
        axis.set_ylabel(label)
        axis.set_ylim(bottom=0)
        axis.legend(loc="upper left", fontsize="small")
    axes[0].set_title(title)
    figure.autofmt_xdate()
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be written: {error}",
            hint="--plot with a name that ends in .png, where you may write",
        ) from error
