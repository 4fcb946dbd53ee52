"""Time series of metrics from CloudWatch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from deploy.aws.client import AWSClient
from deploy.monitoring import METRICS, Metric, queries

__all__ = ["Series", "read_metrics"]


@dataclass(frozen=True, slots=True)
class Series:
    """Values of a metric, oldest first, in `metric.unit`."""

    metric: Metric
    times: tuple[datetime, ...]
    values: tuple[float, ...]


def read_metrics(
    aws: AWSClient,
    endpoint: str,
    *,
    start: datetime,
    end: datetime,
    period_seconds: int,
    metrics: Sequence[Metric] = METRICS,
) -> list[Series]:
    """Return a series for each metric, in the order of `metrics`.

    A series without values in CloudWatch is empty.
    """
    points_by_id: dict[str, list[tuple[datetime, float]]] = {}
    for result in aws.pages(
        "cloudwatch",
        "get_metric_data",
        "MetricDataResults",
        MetricDataQueries=queries(endpoint, period_seconds, metrics),
        StartTime=start,
        EndTime=end,
        ScanBy="TimestampAscending",
    ):
        points = points_by_id.setdefault(result["Id"], [])
        points += zip(result["Timestamps"], result["Values"], strict=True)
    series = []
    for metric in metrics:
        points = sorted(points_by_id.get(metric.identifier, []))
        series.append(
            Series(
                metric,
                tuple(when for when, _ in points),
                tuple(value * metric.scale for _, value in points),
            )
        )
    return series
