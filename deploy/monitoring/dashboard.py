"""Dashboard of an endpoint in CloudWatch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from deploy.monitoring.metrics import METRICS, QUEUE_METRICS, Metric, dimensions
from deploy.plan.actions import Call
from deploy.resources import OWNER_TAG, log_group

__all__ = ["GRAPHS", "QUEUE_GRAPHS", "dashboard_call"]

Graphs = Sequence[tuple[str, Sequence[Metric]]]
GRAPHS: Graphs = (
    ("Requests a minute", METRICS[:3]),
    ("Latency, µs", METRICS[3:6]),
    ("GPU and GPU memory, %", METRICS[6:8]),
    ("CPU, memory and disk, %", METRICS[8:]),
)


def _metrics_labelled(*labels: str) -> list[Metric]:
    return [metric for metric in QUEUE_METRICS if metric.label in labels]


QUEUE_GRAPHS: Graphs = (
    (
        "Documents that wait, and whether without a machine",
        _metrics_labelled("waiting", "for each machine", "without machine"),
    ),
    ("The oldest waits, s", _metrics_labelled("oldest waits")),
    ("Documents a minute", _metrics_labelled("processed", "4xx", "5xx")),
    (
        "Failures a minute",
        _metrics_labelled(
            "failed", "expired", "not fetched", "not written", "not notified"
        ),
    ),
    (
        "Time of the model and in the queue, µs",
        _metrics_labelled(
            "in the queue", *(f"latency {each}" for each in ("p50", "p90", "p99"))
        ),
    ),
    ("From arrival to answer, ms", _metrics_labelled("altogether")),
    ("GPU and GPU memory, %", _metrics_labelled("GPU", "GPU memory")),
    ("CPU, memory and disk, %", _metrics_labelled("CPU", "memory", "disk")),
)


def dashboard_call(endpoint: str, region: str, *, is_async: bool = False) -> Call:
    """Return the call that creates or replaces the dashboard of an endpoint.

    The dashboard has the endpoint's name, and shows the metrics of `region`.
    """
    return Call(
        "cloudwatch",
        "put_dashboard",
        {
            "DashboardName": endpoint,
            "DashboardBody": json.dumps(
                _dashboard(endpoint, region, QUEUE_GRAPHS if is_async else GRAPHS)
            ),
        },
        f"put dashboard {endpoint}",
    )


def _dashboard(endpoint: str, region: str, graphs: Graphs) -> dict[str, Any]:
    widgets: list[dict[str, Any]] = [
        {
            "type": "text",
            "width": 24,
            "height": 2,
            # Dashboards have no tags, so this text names the owner.
            "properties": {
                "markdown": f"Endpoint **{endpoint}** ({OWNER_TAG} = {endpoint}). "
                "Made by `chandra-sagemaker dashboard`."
            },
        }
    ]
    widgets += [
        {
            "type": "metric",
            "width": 12,
            "height": 6,
            "properties": {
                "title": title,
                "region": region,
                "period": 60,
                "metrics": [
                    [
                        metric.namespace,
                        metric.name,
                        *(
                            text
                            for dimension in dimensions(
                                endpoint, of_variant=metric.of_variant
                            )
                            for text in (dimension["Name"], dimension["Value"])
                        ),
                        {"stat": metric.statistic, "label": metric.label},
                    ]
                    for metric in metrics
                ],
            },
        }
        for title, metrics in graphs
    ]
    widgets.append(
        {
            "type": "log",
            "width": 24,
            "height": 6,
            "properties": {
                "title": "Errors",
                "region": region,
                "query": f"SOURCE '{log_group(endpoint)}' "
                "| fields @timestamp, @message "
                "| filter @message like /(?i)error|exception/ "
                "| sort @timestamp desc | limit 50",
            },
        }
    )
    return {"widgets": widgets}
