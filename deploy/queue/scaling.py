"""Scaling of an asynchronous endpoint from zero machines to several, and back.

Three rules, which do not conflict:

- wake: start one machine if documents wait and there is none.
- backlog: add machines if too many documents wait for each. This is target tracking
  with scale-in disabled. Its scale-in alarm would fire after 15 minutes of a small
  backlog, documents that are being read are not in the backlog, and a cool-down delays
  only a second scale-in.
- idle: remove all machines if no document waits and no GPU works, for longer than the
  longest document takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.config import AsynchronousTable
from deploy.plan.actions import Call
from deploy.resources import VARIANT, tag_list

__all__ = [
    "ALARM_SUFFIXES",
    "ObservedScaling",
    "Scaling",
    "build_unscale_call",
    "is_within",
    "scalable_target",
]

SERVICE = "application-autoscaling"
BACKLOG, WAKE, IDLE = "backlog", "wake", "idle"
ALARM_SUFFIXES = (f"-{WAKE}", f"-{IDLE}")
"""Name suffixes of the alarms that scale machines; they never roll back an update."""
PERIOD = 60
# GPU utilization in percent; below it the GPU counts as idle.
IDLE_GPU = 1.0


def scalable_target(endpoint: str) -> dict[str, str]:
    """Return the scalable target of an endpoint in Application Auto Scaling."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint}/variant/{VARIANT}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def build_unscale_call(endpoint: str) -> Call:
    """Return the call that removes the limits and policies of an endpoint."""
    return Call(
        SERVICE,
        "deregister_scalable_target",
        # AWS deletes the policies together with the target.
        scalable_target(endpoint),
        f"remove the scaling of endpoint {endpoint}",
        may_be_missing=True,
    )


@dataclass(frozen=True, slots=True)
class ObservedScaling:
    """Existing scaling of an endpoint."""

    target: Mapping[str, Any] | None = None
    """Scalable target; None if there is none."""
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Scaling policies with their ARNs, by name."""
    alarms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Alarms by name."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """Scaling of an endpoint as it should be."""

    endpoint: str
    min_instances: int
    max_instances: int
    backlog_per_instance: int
    idle_seconds: int
    scale_out_seconds: int
    tags: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_table(
        cls, endpoint: str, table: AsynchronousTable, tags: Mapping[str, str]
    ) -> Scaling:
        """Return the scaling of an endpoint that a configuration asks for."""
        return cls(
            endpoint=endpoint,
            min_instances=table.min_instances,
            max_instances=table.max_instances,
            backlog_per_instance=table.backlog_per_instance,
            idle_seconds=table.idle,
            scale_out_seconds=table.scale_out_seconds,
            tags=tags,
        )

    @property
    def target(self) -> Call:
        """Call that registers the scalable target with its limits."""
        limits = {"MinCapacity": self.min_instances, "MaxCapacity": self.max_instances}
        return Call(
            SERVICE,
            "register_scalable_target",
            {**scalable_target(self.endpoint), **limits},
            f"let endpoint {self.endpoint} have {self.min_instances} to "
            f"{self.max_instances} machines",
            retry_if_missing=True,
        )

    @property
    def policies(self) -> dict[str, Call]:
        """Calls that set the scaling policies, by policy name."""
        tracking = {
            "TargetValue": float(self.backlog_per_instance),
            "CustomizedMetricSpecification": {
                "MetricName": "ApproximateBacklogSizePerInstance",
                "Namespace": "AWS/SageMaker",
                "Dimensions": _endpoint_dimensions(self.endpoint),
                "Statistic": "Average",
            },
            "ScaleOutCooldown": self.scale_out_seconds,
            # Without effect unless scale-in is enabled by hand.
            "ScaleInCooldown": self.idle_seconds,
            "DisableScaleIn": True,
        }
        per = self.backlog_per_instance
        return {
            BACKLOG: self._build_policy(
                BACKLOG,
                "TargetTrackingScaling",
                {"TargetTrackingScalingPolicyConfiguration": tracking},
                f"add a machine if more than {per} documents wait per machine",
            ),
            WAKE: self._build_policy(
                WAKE,
                "StepScaling",
                _step_policy("ChangeInCapacity", 1, "Lower", self.scale_out_seconds),
                "start a machine if documents wait and none runs",
            ),
            IDLE: self._build_policy(
                IDLE,
                "StepScaling",
                _step_policy("ExactCapacity", self.min_instances, "Upper", PERIOD),
                f"scale in to {self.min_instances} if there is no work",
            ),
        }

    def alarms(self, policy_arns: Mapping[str, str]) -> dict[str, Call]:
        """Return the calls that set the alarms, by alarm name.

        Each alarm triggers the policy of the same name, whose ARN is in `policy_arns`.
        """
        minutes = self.idle_seconds // PERIOD
        wake = {
            "Namespace": "AWS/SageMaker",
            "MetricName": "HasBacklogWithoutCapacity",
            # SageMaker publishes this metric without a variant.
            "Dimensions": _endpoint_dimensions(self.endpoint),
            "Statistic": "Average",
            "Period": PERIOD,
            "EvaluationPeriods": 2,
            "DatapointsToAlarm": 2,
            "Threshold": 1.0,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "missing",
        }
        idle = {
            "Metrics": self._work_queries(),
            "EvaluationPeriods": minutes,
            "DatapointsToAlarm": minutes,
            "Threshold": IDLE_GPU,
            "ComparisonOperator": "LessThanOrEqualToThreshold",
            # Missing data does not count as idle: keep machines without metrics.
            "TreatMissingData": "notBreaching",
        }
        return {
            f"{self.endpoint}-{name}": self._build_alarm(
                name, meaning, request, policy_arns[name]
            )
            for name, meaning, request in (
                (WAKE, "documents wait and there is no machine", wake),
                (IDLE, f"no work for {minutes} minutes", idle),
            )
        }

    def _work_queries(self) -> list[dict[str, Any]]:
        """Return the metric queries of the sum of waiting documents and GPU percent.

        The sum is zero only without any work. The backlog alone does not suffice,
        because documents that are picked up at once never appear in it.
        """
        variant = {"Name": "VariantName", "Value": VARIANT}
        series: tuple[tuple[str, str, str, list[dict[str, str]]], ...] = (
            ("waiting", "AWS/SageMaker", "ApproximateBacklogSize", []),
            ("gpu", "/aws/sagemaker/Endpoints", "GPUUtilization", [variant]),
        )
        return [
            {
                "Id": identifier,
                "MetricStat": {
                    "Metric": {
                        "Namespace": namespace,
                        "MetricName": name,
                        "Dimensions": [*_endpoint_dimensions(self.endpoint), *more],
                    },
                    "Period": PERIOD,
                    "Stat": "Maximum",
                },
                "ReturnData": False,
            }
            for identifier, namespace, name, more in series
        ] + [
            {
                "Id": "work",
                "Label": "documents waiting and percent of a GPU",
                # An empty queue may publish no data; a machine without data is busy.
                "Expression": "FILL(waiting, 0) + gpu",
                "ReturnData": True,
            }
        ]

    def _build_policy(
        self, name: str, kind: str, configuration: Mapping[str, Any], effect: str
    ) -> Call:
        request = {
            "PolicyName": name,
            "PolicyType": kind,
            **scalable_target(self.endpoint),
        }
        return Call(
            SERVICE,
            "put_scaling_policy",
            {**request, **configuration},
            f"set scaling policy {name} of endpoint {self.endpoint}: {effect}",
            retry_if_missing=True,
        )

    def _build_alarm(
        self, name: str, meaning: str, request: Mapping[str, Any], policy_arn: str
    ) -> Call:
        alarm = f"{self.endpoint}-{name}"
        return Call(
            "cloudwatch",
            "put_metric_alarm",
            {
                "AlarmName": alarm,
                "AlarmDescription": meaning,
                **request,
                "AlarmActions": [policy_arn],
                "Tags": tag_list(self.tags),
            },
            f"set alarm {alarm}: {meaning}",
        )


def is_within(expected: object, actual: object) -> bool:
    """Return whether every value in `expected` is also in `actual`, at any depth.

    Mappings in `actual` may have more keys, such as those that AWS adds. Lists must
    have the same length.
    """
    if isinstance(expected, Mapping):
        return isinstance(actual, Mapping) and all(
            key in actual and is_within(value, actual[key])
            for key, value in expected.items()
        )
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(expected)
            and all(map(is_within, expected, actual))
        )
    return expected == actual


def _endpoint_dimensions(endpoint: str) -> list[dict[str, str]]:
    return [{"Name": "EndpointName", "Value": endpoint}]


def _step_policy(
    kind: str, adjustment: int, bound: str, cooldown: int
) -> dict[str, Any]:
    return {
        "StepScalingPolicyConfiguration": {
            "AdjustmentType": kind,
            "MetricAggregationType": "Average" if bound == "Lower" else "Maximum",
            "Cooldown": cooldown,
            "StepAdjustments": [
                {
                    f"MetricInterval{bound}Bound": 0.0,
                    "ScalingAdjustment": adjustment,
                }
            ],
        }
    }
