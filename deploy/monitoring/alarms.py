"""Alarms that report problems of an endpoint and roll back bad updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.monitoring.metrics import INVOCATIONS, MACHINES, MICROSECONDS, dimensions
from deploy.plan.actions import Call
from deploy.resources import tag_list

__all__ = ["ALARMS", "QUEUE_ALARM_SUFFIXES", "Alarm", "queue_alarms"]


@dataclass(frozen=True, slots=True)
class Alarm:
    """Alarm that goes off after `num_periods` in a row above the threshold."""

    suffix: str
    meaning: str
    namespace: str
    metric: str
    statistic: str
    threshold: float
    num_periods: int
    period_seconds: int = 60
    of_variant: bool = True
    """False for metrics that SageMaker publishes per endpoint, without a variant."""

    def name(self, endpoint: str) -> str:
        """Return the name that this alarm has for an endpoint."""
        return f"{endpoint}-{self.suffix}"

    def call(
        self, endpoint: str, *, tags: Mapping[str, str], notify: Sequence[str]
    ) -> Call:
        """Return the call that creates or replaces the alarm for an endpoint.

        `notify` are ARNs of SNS topics that get a message when it goes off.
        """
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
                "Dimensions": dimensions(endpoint, of_variant=self.of_variant),
                "ExtendedStatistic" if is_percentile else "Statistic": self.statistic,
                "Period": self.period_seconds,
                "EvaluationPeriods": self.num_periods,
                "DatapointsToAlarm": self.num_periods,
                "Threshold": self.threshold,
                "ComparisonOperator": "GreaterThanThreshold",
                # An endpoint without requests has no data, and is healthy.
                "TreatMissingData": "notBreaching",
                "AlarmActions": list(notify),
                "Tags": tag_list(tags),
            },
            f"set alarm {name}: {self.meaning}",
        )


_DISK = Alarm(
    "disk",
    "the disk of a machine is more than 90 % full",
    MACHINES,
    "DiskUtilization",
    "Maximum",
    90,
    5,
)
ALARMS: tuple[Alarm, ...] = (
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
    _DISK,
)

OLDEST, CAPACITY, FAILURES = "oldest", "capacity", "failures"
QUEUE_ALARM_SUFFIXES = (f"-{OLDEST}", f"-{CAPACITY}", f"-{FAILURES}")
"""Suffixes of alarms of a queue that must not roll back an update. A long queue and
broken documents may be older than the update, and old machines do not help."""


def queue_alarms(wait_seconds: int) -> tuple[Alarm, ...]:
    """Return the alarms of an asynchronous endpoint.

    SageMaker gives a document up after `wait_seconds` in the queue. A document may take
    an hour, so these alarms count failures and use no latency.
    """
    return (
        Alarm(
            "errors",
            "more than one document in five minutes fails inside the container, and "
            "SageMaker tries none again",
            INVOCATIONS,
            "Invocation5XXErrors",
            "Sum",
            1,
            1,
            period_seconds=300,
        ),
        Alarm(
            FAILURES,
            "more than 10 documents in 15 minutes fail, for any reason",
            INVOCATIONS,
            "InvocationFailures",
            "Sum",
            10,
            1,
            period_seconds=900,
        ),
        Alarm(
            OLDEST,
            f"a document has waited for {wait_seconds // 120} minutes, half of the "
            "time after which SageMaker gives it up",
            INVOCATIONS,
            "ApproximateAgeOfOldestRequest",
            "Maximum",
            wait_seconds / 2,
            3,
            of_variant=False,
        ),
        Alarm(
            CAPACITY,
            "documents have waited for 30 minutes and there is no machine",
            INVOCATIONS,
            "HasBacklogWithoutCapacity",
            "Minimum",
            0,
            30,
            of_variant=False,
        ),
        _DISK,
    )
