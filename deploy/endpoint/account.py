"""What is there of one deployment: the planner's Observer, over the wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from deploy.aws.client import AWSClient
from deploy.endpoint.schedule import entry_name, request_again
from deploy.endpoint.schedules import schedule_entries
from deploy.errors import AccessDeniedError, NotFoundError
from deploy.monitoring import QUEUE_ALARM_SUFFIXES
from deploy.monitoring.account import alarms_of
from deploy.queue.scaling import ALARM_SUFFIXES, ObservedScaling, scalable_target
from deploy.resources import (
    DESCRIBED_TAG,
    LIVE_TAG,
    OWNER_TAG,
    STOPPED_TAG,
    EndpointState,
    Live,
    our_variant,
    tags_from,
)

__all__ = ["Account"]


class Account:
    """Asks AWS each time; remembers nothing."""

    def __init__(self, aws: AWSClient) -> None:
        self._aws = aws

    def endpoint(self, name: str) -> EndpointState | None:
        try:
            answer = self._aws.call("sagemaker", "describe_endpoint", EndpointName=name)
        except NotFoundError:
            return None
        variant = our_variant(answer)
        pending = answer.get("PendingDeploymentSummary") or {}
        changing = our_variant(pending) or variant
        images = variant.get("DeployedImages") or ()
        target = self._scalable_target(name)
        return EndpointState(
            name=name,
            status=answer["EndpointStatus"],
            config=answer.get("EndpointConfigName", ""),
            is_ours=self._owner(answer["EndpointArn"]) == name,
            pending_config=pending.get("EndpointConfigName"),
            failure=answer.get("FailureReason"),
            created=answer.get("CreationTime"),
            modified=answer.get("LastModifiedTime"),
            variant=variant.get("VariantName"),
            instance_count=variant.get("CurrentInstanceCount"),
            desired_count=variant.get("DesiredInstanceCount"),
            pools=tuple(
                (pool["InstanceType"], pool.get("CurrentInstanceCount", 0))
                for pool in variant.get("InstancePools") or ()
            ),
            image=next((i.get("ResolvedImage") for i in images), None),
            stages=tuple(
                stage["Status"] for stage in changing.get("VariantStatus") or ()
            ),
            is_scaled=target is not None,
            scaling_limits=(target["MinCapacity"], target["MaxCapacity"])
            if target
            else None,
        )

    def has_model(self, name: str) -> bool:
        return self._exists("describe_model", ModelName=name)

    def has_config(self, name: str) -> bool:
        return self._exists("describe_endpoint_config", EndpointConfigName=name)

    def describe_config(self, name: str) -> dict[str, Any]:
        return self._aws.call(
            "sagemaker", "describe_endpoint_config", EndpointConfigName=name
        )

    def describe_model(self, name: str) -> dict[str, Any]:
        return self._aws.call("sagemaker", "describe_model", ModelName=name)

    def history(self, deployment: str) -> Sequence[Live]:
        found = []
        for config, tags in self._ours(
            deployment, "list_endpoint_configs", "EndpointConfig"
        ):
            found.append(
                Live(
                    config=config["EndpointConfigName"],
                    created=config["CreationTime"],
                    since=_time_of(tags, LIVE_TAG),
                    stopped=_time_of(tags, STOPPED_TAG),
                    described=_time_of(tags, DESCRIBED_TAG),
                )
            )
        return sorted(
            found,
            key=lambda live: (live.since is not None, live.since or live.created),
            reverse=True,
        )

    def models(self, deployment: str) -> list[str]:
        """Its models, by name."""
        return [
            model["ModelName"]
            for model, _ in self._ours(deployment, "list_models", "Model")
        ]

    def endpoints(self) -> list[tuple[str, str, str]]:
        """Endpoints that any deployment of ours made: name, status, deployment."""
        found = []
        for summary in self._aws.pages("sagemaker", "list_endpoints", "Endpoints"):
            try:
                owner = self._owner(summary["EndpointArn"])
            except AccessDeniedError:
                # The least policy lets us look at our own only.
                continue
            if owner is not None:
                found.append(
                    (summary["EndpointName"], summary["EndpointStatus"], owner)
                )
        return found

    def rollback_alarms(self, deployment: str) -> Sequence[str]:
        return [
            alarm.name
            for alarm in alarms_of(self._aws, deployment)
            if not alarm.name.endswith((*ALARM_SUFFIXES, *QUEUE_ALARM_SUFFIXES))
        ]

    def scaling(self, endpoint: str) -> ObservedScaling:
        """Limits, policies and alarms of an endpoint's number of machines."""
        which = scalable_target(endpoint)
        policies = self._aws.pages(
            "application-autoscaling",
            "describe_scaling_policies",
            "ScalingPolicies",
            ServiceNamespace=which["ServiceNamespace"],
            ResourceId=which["ResourceId"],
        )
        names = [f"{endpoint}{suffix}" for suffix in ALARM_SUFFIXES]
        alarms = self._aws.pages(
            "cloudwatch", "describe_alarms", "MetricAlarms", AlarmNames=names
        )
        return ObservedScaling(
            target=self._scalable_target(endpoint),
            policies={policy["PolicyName"]: policy for policy in policies},
            alarms={alarm["AlarmName"]: alarm for alarm in alarms},
        )

    def scheduled_start(self, deployment: str) -> dict[str, Any] | None:
        start = entry_name(deployment, "start")
        entries = schedule_entries(self._aws, deployment)
        entries = [entry for entry in entries if entry["Name"] == start]
        return request_again(entries[0]) if entries else None

    def _ours(
        self, deployment: str, operation: str, noun: str
    ) -> Iterator[tuple[dict[str, Any], Mapping[str, str]]]:
        """What carries our tag, of everything whose name begins as ours do.

        SageMaker finds the words anywhere in a name, and the least policy lets us read
        the tags of ours only.
        """
        begin = f"{deployment}-"
        for item in self._aws.pages(
            "sagemaker", operation, f"{noun}s", NameContains=begin
        ):
            if not item[f"{noun}Name"].startswith(begin):
                continue
            tags = self.tags(item[f"{noun}Arn"])
            if tags.get(OWNER_TAG) == deployment:
                yield item, tags

    def tags(self, arn: str) -> dict[str, str]:
        try:
            return tags_from(
                self._aws.pages("sagemaker", "list_tags", "Tags", ResourceArn=arn)
            )
        except NotFoundError:
            return {}

    def _owner(self, arn: str) -> str | None:
        return self.tags(arn).get(OWNER_TAG)

    def _exists(self, operation: str, **params: str) -> bool:
        try:
            self._aws.call("sagemaker", operation, **params)
        except NotFoundError:
            return False
        return True

    def _scalable_target(self, endpoint: str) -> dict[str, Any] | None:
        """Return an endpoint's scalable target; None where it has none."""
        which = scalable_target(endpoint)
        answer = self._aws.call(
            "application-autoscaling",
            "describe_scalable_targets",
            ServiceNamespace=which["ServiceNamespace"],
            ResourceIds=[which["ResourceId"]],
        )
        return next(iter(answer.get("ScalableTargets") or ()), None)


def _time_of(tags: Mapping[str, str], name: str) -> datetime | None:
    """Return the time that a tag holds; None for one that somebody else has written."""
    try:
        time = datetime.fromisoformat(tags[name])
    except (KeyError, ValueError):
        return None
    return None if time.tzinfo is None else time
