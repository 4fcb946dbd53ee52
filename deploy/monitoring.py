"""What is measured of an endpoint: metrics, alarms and a dashboard, as values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.actions import Call
from deploy.resources import OWNER_TAG, VARIANT, log_group, tag_list

__all__ = [
    "ALARMS",
    "METRICS",
    "QUEUE_METRICS",
    "Alarm",
    "Metric",
    "dashboard_call",
    "queries",
]

INVOCATIONS = "AWS/SageMaker"
MACHINES = "/aws/sagemaker/Endpoints"
MICROSECONDS = 1e-6
MILLISECONDS = 1e-3


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the table."""

    label: str
    namespace: str
    name: str
    statistic: str
    unit: str
    scale: float = 1.0
    of_variant: bool = True
    """Else it is of the endpoint alone: with a variant, nobody writes that series."""

    @property
    def identifier(self) -> str:
        return f"{self.name[0].lower()}{self.name[1:]}_{self.statistic.lower()}"

    @property
    def is_counted(self) -> bool:
        """Its total means something."""
        return self.statistic == "Sum"


_ERRORS = (
    Metric("4xx", INVOCATIONS, "Invocation4XXErrors", "Sum", ""),
    Metric("5xx", INVOCATIONS, "Invocation5XXErrors", "Sum", ""),
)
_LATENCIES = tuple(
    Metric(f"latency {each}", INVOCATIONS, "ModelLatency", each, "s", MICROSECONDS)
    for each in ("p50", "p90", "p99")
)
_MACHINES = (
    Metric("GPU", MACHINES, "GPUUtilization", "Average", "%"),
    Metric("GPU memory", MACHINES, "GPUMemoryUtilization", "Average", "%"),
    Metric("CPU", MACHINES, "CPUUtilization", "Average", "%"),
    Metric("memory", MACHINES, "MemoryUtilization", "Average", "%"),
    Metric("disk", MACHINES, "DiskUtilization", "Maximum", "%"),
)
METRICS = (
    Metric("invocations", INVOCATIONS, "Invocations", "Sum", ""),
    *_ERRORS,
    *_LATENCIES,
    *_MACHINES,
)


def _of_queue(label: str, name: str, unit: str = "") -> Metric:
    return Metric(label, INVOCATIONS, name, "Maximum", unit, of_variant=False)


# SageMaker's guide writes InvocationsProcesssed; programs that read it, with two s.
QUEUE_METRICS = (
    _of_queue("waiting", "ApproximateBacklogSize"),
    _of_queue("for each machine", "ApproximateBacklogSizePerInstance"),
    _of_queue("without machine", "HasBacklogWithoutCapacity"),
    _of_queue("oldest waits", "ApproximateAgeOfOldestRequest", "s"),
    Metric("processed", INVOCATIONS, "InvocationsProcessed", "Sum", ""),
    Metric("failed", INVOCATIONS, "InvocationFailures", "Sum", ""),
    Metric("expired", INVOCATIONS, "ExpiredRequests", "Sum", ""),
    Metric("not fetched", INVOCATIONS, "RequestDownloadFailures", "Sum", ""),
    Metric("not written", INVOCATIONS, "ResponseUploadFailures", "Sum", ""),
    Metric("not notified", INVOCATIONS, "NotificationFailures", "Sum", ""),
    *_ERRORS,
    Metric("in the queue", INVOCATIONS, "TimeInBacklog", "Average", "s", MICROSECONDS),
    *_LATENCIES,
    Metric(
        "altogether", INVOCATIONS, "TotalProcessingTime", "Average", "s", MILLISECONDS
    ),
    *_MACHINES,
)
"""All that SageMaker publishes of an asynchronous endpoint, but for times of copying:
Invocations is not among it."""


def dimensions(endpoint: str) -> list[dict[str, str]]:
    return [
        {"Name": "EndpointName", "Value": endpoint},
        {"Name": "VariantName", "Value": VARIANT},
    ]


def queries(
    endpoint: str, period_seconds: int, metrics: Sequence[Metric] = METRICS
) -> list[dict[str, Any]]:
    """All of them, as GetMetricData takes them."""
    return [
        {
            "Id": metric.identifier,
            "MetricStat": {
                "Metric": {
                    "Namespace": metric.namespace,
                    "MetricName": metric.name,
                    "Dimensions": dimensions(endpoint)[: 1 + metric.of_variant],
                },
                "Period": period_seconds,
                "Stat": metric.statistic,
            },
        }
        for metric in metrics
    ]


@dataclass(frozen=True, slots=True)
class Alarm:
    """Goes off when `num_periods` minutes in a row are above the threshold."""

    suffix: str
    meaning: str
    namespace: str
    metric: str
    statistic: str
    threshold: float
    num_periods: int

    def name(self, endpoint: str) -> str:
        return f"{endpoint}-{self.suffix}"

    def call(
        self, endpoint: str, *, tags: Mapping[str, str], notify: Sequence[str]
    ) -> Call:
        name = self.name(endpoint)
        is_percentile = self.statistic.startswith("p")
        return Call(
            "cloudwatch",
            "put_metric_alarm",
            {
                "AlarmName": name,
                "AlarmDescription": self.meaning,
                "Namespace": self.namespace,
                "MetricName": self.metric,
                "Dimensions": dimensions(endpoint),
                "ExtendedStatistic" if is_percentile else "Statistic": self.statistic,
                "Period": 60,
                "EvaluationPeriods": self.num_periods,
                "DatapointsToAlarm": self.num_periods,
                "Threshold": self.threshold,
                "ComparisonOperator": "GreaterThanThreshold",
                # No requests, no errors: an idle endpoint is a healthy one.
                "TreatMissingData": "notBreaching",
                "AlarmActions": list(notify),
                "Tags": tag_list(tags),
            },
            f"set alarm {name}: {self.meaning}",
        )


ALARMS = (
    Alarm(
        "errors",
        "more than 5 requests a minute fail inside the container",
        INVOCATIONS,
        "Invocation5XXErrors",
        "Sum",
        5,
        2,
    ),
    Alarm(
        "latency",
        "one request in a hundred takes more than 55 s, and 60 s is SageMaker's limit",
        INVOCATIONS,
        "ModelLatency",
        "p99",
        55 / MICROSECONDS,
        3,
    ),
    Alarm(
        "disk",
        "the disk of a machine is more than 90 % full",
        MACHINES,
        "DiskUtilization",
        "Maximum",
        90,
        5,
    ),
)


def dashboard_call(endpoint: str, region: str) -> Call:
    """A dashboard of the endpoint's name."""
    return Call(
        "cloudwatch",
        "put_dashboard",
        {
            "DashboardName": endpoint,
            "DashboardBody": json.dumps(_dashboard(endpoint, region)),
        },
        f"put dashboard {endpoint}",
    )


def _dashboard(endpoint: str, region: str) -> dict[str, Any]:
    graphs = (
        ("Requests a minute", METRICS[:3]),
        ("Latency, µs", METRICS[3:6]),
        ("GPU and GPU memory, %", METRICS[6:8]),
        ("CPU, memory and disk, %", METRICS[8:]),
    )
    widgets: list[dict[str, Any]] = [
        {
            "type": "text",
            "width": 24,
            "height": 2,
            # Dashboards have no tags: this says whose it is.
            "properties": {
                "markdown": f"Endpoint **{endpoint}** ({OWNER_TAG} = {endpoint}). "
                "Made by `chandra-sagemaker dashboard --create`."
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
                            for dimension in dimensions(endpoint)
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
