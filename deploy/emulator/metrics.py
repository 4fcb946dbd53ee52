"""CloudWatch metrics that SageMaker publishes about endpoints."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deploy.emulator.backend import Backend, HostedEndpoint
from deploy.errors import DeployError

__all__ = ["MICROSECONDS", "MILLISECONDS", "UNITS", "EmulatedMetrics", "QueueLevel"]

NAMESPACE = "AWS/SageMaker"
MICROSECONDS = 1e6
MILLISECONDS = 1e3
UNITS = {
    "Invocations": "None",
    "InvocationsPerInstance": "None",
    "InvocationModelErrors": "None",
    "Invocation4XXErrors": "None",
    "Invocation5XXErrors": "None",
    "ModelLatency": "Microseconds",
    "OverheadLatency": "Microseconds",
    "ApproximateBacklogSize": "Count",
    "ApproximateBacklogSizePerInstance": "Count",
    "ApproximateAgeOfOldestRequest": "Seconds",
    "HasBacklogWithoutCapacity": "Count",
    "InvocationsProcessed": "Count",
    "InvocationFailures": "Count",
    "ExpiredRequests": "Count",
    "RequestDownloadFailures": "Count",
    "ResponseUploadFailures": "Count",
    "NotificationFailures": "Count",
    "TimeInBacklog": "Microseconds",
    "TotalProcessingTime": "Milliseconds",
}
"""All metrics that the emulator publishes, with SageMaker's units."""
MAX_VALUES_PER_METRIC = 150
"""Values of one metric in a PutMetricData call; a limit of CloudWatch."""
MAX_METRICS_PER_CALL = 1000
"""Metrics in a PutMetricData call; a limit of CloudWatch."""


@dataclass(frozen=True, slots=True)
class QueueLevel:
    """Current metrics of a queue, which have the dimension of the endpoint alone."""

    region: str
    endpoint: str
    values: Mapping[str, float]
    """Values by metric name."""


@dataclass(frozen=True, slots=True)
class _Series:
    region: str
    endpoint: str
    variant: str | None
    name: str

    @property
    def dimensions(self) -> list[dict[str, str]]:
        named = {"EndpointName": self.endpoint, "VariantName": self.variant}
        return [{"Name": n, "Value": v} for n, v in named.items() if v is not None]


class EmulatedMetrics:
    """Metrics of endpoints, counted by any thread and published by a background thread.

    Requests neither wait for CloudWatch nor fail with it.
    """

    def __init__(
        self,
        backend: Backend,
        read_levels: Callable[[], Iterable[QueueLevel]],
        *,
        interval_seconds: float,
        print_line: Callable[[str], None],
    ) -> None:
        """Create metrics that are published once `start` was called.

        `read_levels` returns the current queue metrics, and is called before each
        publication. `print_line` prints the first error of a publication.
        """
        self._backend = backend
        self._read_levels = read_levels
        self._interval_seconds = interval_seconds
        self._print_line = print_line
        self._lock = threading.Lock()
        self._counted: dict[_Series, Counter[float]] = defaultdict(Counter)
        self._has_failed = False
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Start to publish metrics, in a background thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop publishing, and drop values that were not published yet."""
        self._is_closing.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def add(self, hosted: HostedEndpoint, **values: float) -> None:
        """Add one value to each of the given metrics of an endpoint's variant."""
        with self._lock:
            for name, value in values.items():
                series = _Series(hosted.region, hosted.name, hosted.variant, name)
                self._counted[series][value] += 1

    def count_invocation(
        self, hosted: HostedEndpoint, status: int, seconds: float, **more: float
    ) -> None:
        """Count a request to a container, with its status and duration.

        `status` is 0 if the container did not respond.
        """
        self.add(
            hosted,
            Invocation4XXErrors=float(400 <= status < 500),
            Invocation5XXErrors=float(status >= 500),
            ModelLatency=round(seconds * MICROSECONDS),
            **more,
        )

    def _run(self) -> None:
        while not self._is_closing.wait(self._interval_seconds):
            try:
                self._publish()
            except Exception as error:  # the thread must survive any error
                if not self._has_failed:
                    self._has_failed = True
                    cause = error.message if isinstance(error, DeployError) else error
                    self._print_line(f"cannot publish metrics: {cause}")

    def _publish(self) -> None:
        """Send the counted values and the queue metrics, and reset the counts."""
        now = datetime.now(UTC)
        with self._lock:
            counted, self._counted = self._counted, defaultdict(Counter)
        for level in self._read_levels():
            for name, value in level.values.items():
                series = _Series(level.region, level.endpoint, None, name)
                counted[series][float(value)] += 1
        by_region: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for series, values in counted.items():
            by_region[series.region] += _to_metric_data(series, values, now)
        for region, data in by_region.items():
            for first in range(0, len(data), MAX_METRICS_PER_CALL):
                self._backend.call(
                    region,
                    "cloudwatch",
                    "put_metric_data",
                    Namespace=NAMESPACE,
                    MetricData=data[first : first + MAX_METRICS_PER_CALL],
                )


def _to_metric_data(
    series: _Series, values: Mapping[float, int], now: datetime
) -> Iterator[dict[str, Any]]:
    pairs = list(values.items())
    for first in range(0, len(pairs), MAX_VALUES_PER_METRIC):
        chunk = pairs[first : first + MAX_VALUES_PER_METRIC]
        yield {
            "MetricName": series.name,
            "Dimensions": series.dimensions,
            "Timestamp": now,
            "Values": [value for value, _ in chunk],
            "Counts": [float(count) for _, count in chunk],
            "Unit": UNITS[series.name],
        }
