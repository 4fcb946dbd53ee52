"""Metrics of real-time and asynchronous endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deploy.resources import VARIANT

__all__ = [
    "INVOCATIONS",
    "MACHINES",
    "METRICS",
    "MICROSECONDS",
    "QUEUE_METRICS",
    "Metric",
    "dimensions",
    "queries",
]

INVOCATIONS = "AWS/SageMaker"
MACHINES = "/aws/sagemaker/Endpoints"
MICROSECONDS = 1e-6
MILLISECONDS = 1e-3


@dataclass(frozen=True, slots=True)
class Metric:
    """Metric of CloudWatch, with the label and the unit in which it is shown."""

    label: str
    namespace: str
    name: str
    statistic: str
    unit: str
    """Unit after the multiplication by `scale`; empty for numbers."""
    scale: float = 1.0
    of_variant: bool = True
    """False for metrics that SageMaker publishes per endpoint, without a variant."""

    @property
    def identifier(self) -> str:
        """Id of the metric in GetMetricData, such as `modelLatency_p99`."""
        return f"{self.name[0].lower()}{self.name[1:]}_{self.statistic.lower()}"

    @property
    def is_counted(self) -> bool:
        """True if the metric counts events, so that its values can be added up."""
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


# SageMaker's guide spells it InvocationsProcesssed. The metric has two s.
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
"""Metrics that SageMaker publishes of asynchronous endpoints, except for copying times.
There is no `Invocations` among them."""


def dimensions(endpoint: str, *, of_variant: bool = True) -> list[dict[str, str]]:
    """Return the dimensions of an endpoint's metric: its name and, maybe, its variant.

    With other dimensions, CloudWatch returns no values.
    """
    named = {"EndpointName": endpoint}
    if of_variant:
        named["VariantName"] = VARIANT
    return [{"Name": name, "Value": value} for name, value in named.items()]


def queries(
    endpoint: str, period_seconds: int, metrics: Sequence[Metric] = METRICS
) -> list[dict[str, Any]]:
    """Return the metrics of an endpoint as queries of GetMetricData."""
    return [
        {
            "Id": metric.identifier,
            "MetricStat": {
                "Metric": {
                    "Namespace": metric.namespace,
                    "MetricName": metric.name,
                    "Dimensions": dimensions(endpoint, of_variant=metric.of_variant),
                },
                "Period": period_seconds,
                "Stat": metric.statistic,
            },
        }
        for metric in metrics
    ]
