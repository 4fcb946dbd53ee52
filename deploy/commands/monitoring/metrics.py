"""Command `metrics`: latency, requests, errors, GPU and disk."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path

from deploy.commands.command import Command
from deploy.commands.monitoring.logs import parse_age
from deploy.commands.monitoring.plot import draw_plot
from deploy.commands.which_endpoint import add_async_argument, endpoint_of
from deploy.console import table
from deploy.context import Context
from deploy.monitoring import METRICS, QUEUE_METRICS
from deploy.monitoring.cloudwatch import Series, read_metrics

BARS = "▁▂▃▄▅▆▇█"
NUM_PERIODS = 24
# The metrics have a resolution of one minute.
MIN_PERIOD_SECONDS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since",
        default="3h",
        metavar="AGE",
        help="length of the period, such as 30m, 3h or 7d (default 3h)",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="FILE.png",
        help="write a plot to FILE.png; needs matplotlib (extra `plot`)",
    )
    add_async_argument(parser)


def run(context: Context, options: argparse.Namespace) -> int:
    span = parse_age(options.since)
    period = (
        int(span.total_seconds() / NUM_PERIODS)
        // MIN_PERIOD_SECONDS
        * MIN_PERIOD_SECONDS
    )
    period = max(MIN_PERIOD_SECONDS, period)
    start, end = context.now - span, context.now
    name = endpoint_of(context, options)
    series = read_metrics(
        context.aws,
        name,
        start=start,
        end=end,
        period_seconds=period,
        metrics=QUEUE_METRICS if options.is_async else METRICS,
    )
    lines = table(
        [
            ("", "LATEST", "TOTAL OR MEAN", "HIGHEST", f"LAST {options.since.upper()}"),
            *(_row(item, start, period) for item in series),
        ]
    )
    if not any(item.values for item in series):
        lines.append(
            f"nothing was measured in the last {options.since}: chandra-sagemaker "
            "status says whether the endpoint runs"
        )
    if options.plot is not None and not context.is_dry_run:
        draw_plot(
            series,
            options.plot,
            title=f"endpoint {name}, last {options.since}",
            start=start,
            end=end,
            period_seconds=period,
        )
        lines.append(f"wrote {options.plot}")
    context.console.print_result(
        {
            item.metric.label: [
                {"time": when, "value": value}
                for when, value in zip(item.times, item.values, strict=True)
            ]
            for item in series
        },
        lines,
    )
    return 0


def _row(series: Series, start: datetime, period: int) -> tuple[str, ...]:
    """Return label, latest value, total or mean, highest value, and bars."""
    metric, values = series.metric, series.values
    if not values:
        return (metric.label, "-", "-", "-", "")
    whole = sum(values) if metric.is_counted else sum(values) / len(values)
    return (
        metric.label,
        *(f"{value:.4g}{metric.unit}" for value in (values[-1], whole, max(values))),
        _bars(series, start, period),
    )


def _bars(series: Series, start: datetime, period: int) -> str:
    """Return a bar for each period up to the last with a value; the highest is full.

    A period without a value is a space. The series must have a value.
    """
    top = max(series.values) or 1.0
    bars: dict[int, str] = {}
    for when, value in zip(series.times, series.values, strict=True):
        # CloudWatch aligns its periods to the clock: the first may begin earlier.
        number = max(0, int((when - start).total_seconds() // period))
        bars[number] = BARS[min(7, int(8 * max(0.0, value) / top))]
    return "".join(bars.get(number, " ") for number in range(max(bars) + 1))


COMMAND = Command(
    run=run,
    description="Show latency, requests, errors, and use of GPU and disk, as a table "
    "or a plot.",
    examples=(
        "metrics --since 3h",
        "metrics --since 7d --plot week.png",
    ),
    add_arguments=add_arguments,
)
