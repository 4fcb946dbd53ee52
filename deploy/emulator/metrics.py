"""What SageMaker publishes of endpoints: counted by whoever serves, put by a thread."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deploy.emulator.backend import Backend, Hosted
from deploy.errors import DeployError

__all__ = ["MICROSECONDS", "MILLISECONDS", "UNITS", "Level", "Metrics"]

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
"""All that is published here, in SageMaker's units."""
MAX_VALUES = 150
"""CloudWatch's, of one metric in a call; and metrics in it."""
MAX_METRICS = 1000


@dataclass(frozen=True, slots=True)
class Level:
    """What a queue is like now; of the endpoint, and not of its variant."""

    region: str
    endpoint: str
    values: Mapping[str, float]
    """By the metric's name."""


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


class Metrics:
    """Counted from any thread, which never waits for CloudWatch."""

    def __init__(
        self,
        backend: Backend,
        levels: Callable[[], Iterable[Level]],
        *,
        every_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        """`levels` is asked each time that something is put."""
        self._backend = backend
        self._levels = levels
        self._every_seconds = every_seconds
        self._say = say
        self._lock = threading.Lock()
        self._counted: dict[_Series, Counter[float]] = defaultdict(Counter)
        self._has_failed = False
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """What was not put by now is forgotten: everything ends."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def add(self, hosted: Hosted, **values: float) -> None:
        """One value of each of these metrics, of the endpoint's variant."""
        with self._lock:
            for name, value in values.items():
                series = _Series(hosted.region, hosted.name, hosted.variant, name)
                self._counted[series][value] += 1

    def answered(
        self, hosted: Hosted, status: int, seconds: float, **more: float
    ) -> None:
        """A container was asked, and took so long; `status` 0: it gave no answer."""
        self.add(
            hosted,
            Invocation4XXErrors=float(400 <= status < 500),
            Invocation5XXErrors=float(status >= 500),
            ModelLatency=round(seconds * MICROSECONDS),
            **more,
        )

    def _run(self) -> None:
        while not self._is_over.wait(self._every_seconds):
            try:
                self._put()
            except Exception as error:  # no metric is worth a request, nor this thread
                if not self._has_failed:
                    self._has_failed = True
                    why = error.message if isinstance(error, DeployError) else error
                    self._say(f"metrics cannot be kept: {why}")

    def _put(self) -> None:
        now = datetime.now(UTC)
        with self._lock:
            counted, self._counted = self._counted, defaultdict(Counter)
        for level in self._levels():
            for name, value in level.values.items():
                series = _Series(level.region, level.endpoint, None, name)
                counted[series][float(value)] += 1
        by_region: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for series, values in counted.items():
            by_region[series.region] += _data(series, values, now)
        for region, data in by_region.items():
            for first in range(0, len(data), MAX_METRICS):
                self._backend.call(
                    region,
                    "cloudwatch",
                    "put_metric_data",
                    Namespace=NAMESPACE,
                    MetricData=data[first : first + MAX_METRICS],
                )


def _data(
    series: _Series, values: Mapping[float, int], now: datetime
) -> Iterator[dict[str, Any]]:
    pairs = list(values.items())
    for first in range(0, len(pairs), MAX_VALUES):
        some = pairs[first : first + MAX_VALUES]
        yield {
            "MetricName": series.name,
            "Dimensions": series.dimensions,
            "Timestamp": now,
            "Values": [value for value, _ in some],
            "Counts": [float(count) for _, count in some],
            "Unit": UNITS[series.name],
        }
