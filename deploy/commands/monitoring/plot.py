"""Plot of metrics over time, with axes for each kind of metric."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploy.errors import ConfigError
from deploy.monitoring.cloudwatch import Series

__all__ = ["draw_plot"]

WIDTH, HEIGHT, DOTS_AN_INCH = 10, 1.9, 120
SUCCESSES = ("invocations", "processed")


def draw_plot(
    series: Sequence[Series],
    path: Path,
    *,
    title: str,
    start: datetime,
    end: datetime,
    period_seconds: int,
) -> None:
    """Write a plot; raises ConfigError without matplotlib, or if writing fails."""
    try:
        from matplotlib import dates as untyped
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise ConfigError(
            "--plot needs matplotlib",
            hint="pip install matplotlib, or '.[plot]' in the repository",
        ) from error
    dates: Any = untyped
    groups = _groups(series, period_seconds)
    figure = Figure(
        figsize=(WIDTH, HEIGHT * len(groups)), dpi=DOTS_AN_INCH, layout="constrained"
    )
    axes = figure.subplots(len(groups), 1, sharex=True)
    for axis, (label, members) in zip(axes, groups, strict=True):
        for item in members:
            label_text = item.metric.label + ("" if item.values else " (none)")
            axis.plot(item.times, item.values, marker=".", label=label_text)
        values = [value for item in members for value in item.values]
        if not values:
            axis.text(0.5, 0.5, "no values", transform=axis.transAxes, ha="center")
        axis.set_ylabel(label)
        # Percentages have the same scale; those of several GPUs exceed 100.
        whole = 100.0 if label.endswith("%") else 1.0
        axis.set_ylim(0, 1.05 * max(whole, *values, 0.0))
        axis.yaxis.set_major_locator(
            MaxNLocator(nbins=5, integer=members[0].metric.is_counted)
        )
        axis.grid(alpha=0.3)
        # The legend is beside the axes, where it hides no lines.
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.align_ylabels(axes)
    axes[0].set_title(title)
    axes[-1].set_xlim(start, end)
    locator = dates.AutoDateLocator(tz=UTC)
    axes[-1].xaxis.set_major_locator(locator)
    axes[-1].xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=UTC))
    axes[-1].set_xlabel("UTC")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be written: {error}",
            hint="--plot with a writable path that ends in .png",
        ) from error


def _groups(
    series: Sequence[Series], period_seconds: int
) -> list[tuple[str, list[Series]]]:
    """Return the series grouped by kind and unit, with the label of their axis."""
    minutes = f"in {period_seconds // 60} min"
    groups: dict[str, list[Series]] = {}
    for item in series:
        metric = item.metric
        if metric.unit == "%":
            what = "GPU, %" if metric.label.startswith("GPU") else "machine, %"
        elif metric.unit == "s":
            what = "seconds"
        elif metric.is_counted:
            what = "requests" if metric.label in SUCCESSES else "failures"
            what = f"{what}\n{minutes}"
        else:
            what = "queue"
        groups.setdefault(what, []).append(item)
    return list(groups.items())
