"""Endpoints, configs, models and schedules in an AWS account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from deploy.aws.client import AWSClient
from deploy.endpoint.schedule import entry_name, start_request
from deploy.endpoint.schedules import schedule_group_tags
from deploy.errors import AccessDeniedError, NotFoundError
from deploy.monitoring import QUEUE_ALARM_SUFFIXES
from deploy.monitoring.account import list_alarms
from deploy.queue.scaling import ALARM_SUFFIXES, ObservedScaling, scalable_target
from deploy.resources import (
    DESCRIBED_TAG,
    LIVE_TAG,
    OWNER_TAG,
    STOPPED_TAG,
    DatedConfig,
    EndpointState,
    main_variant,
    tags_from,
)

__all__ = ["Account"]

SCALING = "application-autoscaling"
DESCRIBE_TARGETS = "describe_scalable_targets"


class Account:
    """Observer that reads an AWS account on each call; it caches nothing."""

    def __init__(self, aws: AWSClient) -> None:
        self._aws = aws

    def read_endpoint(self, name: str) -> EndpointState | None:
        """Return the state of an endpoint; None if it does not exist."""
        try:
            answer = self._aws.call("sagemaker", "describe_endpoint", EndpointName=name)
            arn = answer["EndpointArn"]
            items = self._aws.pages("sagemaker", "list_tags", "Tags", ResourceArn=arn)
            is_ours = tags_from(list(items)).get(OWNER_TAG) == name
        except NotFoundError:
            return None
        scaled = self._aws.call(SCALING, DESCRIBE_TARGETS, **_target_params(name))
        return _endpoint_state(answer, is_ours=is_ours, target=_first_target(scaled))

    def poll_endpoint(self, name: str) -> EndpointState | None:
        """Return the state of an endpoint without its tags and scaling limits.

        Waits poll with it, because it needs one request. The state always has `is_ours`
        True and `is_scaled` False. Returns None if the endpoint does not exist.
        """
        try:
            answer = self._aws.call("sagemaker", "describe_endpoint", EndpointName=name)
        except NotFoundError:
            return None
        return _endpoint_state(answer, is_ours=True, target=None)

    def has_model(self, name: str) -> bool:
        """Return True if there is a model of this name."""
        try:
            self._aws.call("sagemaker", "describe_model", ModelName=name)
        except NotFoundError:
            return False
        return True

    def has_config(self, name: str) -> bool:
        """Return True if there is an endpoint config of this name."""
        try:
            self._aws.call(
                "sagemaker", "describe_endpoint_config", EndpointConfigName=name
            )
        except NotFoundError:
            return False
        return True

    def describe_config(self, name: str) -> dict[str, Any]:
        """Return an endpoint config; raises NotFoundError if it does not exist."""
        return self._aws.call(
            "sagemaker", "describe_endpoint_config", EndpointConfigName=name
        )

    def describe_model(self, name: str) -> dict[str, Any]:
        """Return a model; raises NotFoundError if it does not exist."""
        return self._aws.call("sagemaker", "describe_model", ModelName=name)

    def history(self, deployment: str) -> Sequence[DatedConfig]:
        """Return the endpoint configs with the owner tag of a deployment.

        Those that were in service come first, the last one at the front. Those that
        never were follow, the newest first.
        """
        begin = f"{deployment}-"
        configs = []
        for item in self._aws.pages(
            "sagemaker", "list_endpoint_configs", "EndpointConfigs", NameContains=begin
        ):
            # NameContains matches anywhere in a name. The policy of `iam --caller`
            # allows to read tags only if a name begins with the deployment's.
            if not item["EndpointConfigName"].startswith(begin):
                continue
            tags = self.tags(item["EndpointConfigArn"])
            if tags.get(OWNER_TAG) == deployment:
                configs.append(
                    DatedConfig(
                        config=item["EndpointConfigName"],
                        created=item["CreationTime"],
                        since=_time_of(tags, LIVE_TAG),
                        stopped=_time_of(tags, STOPPED_TAG),
                        described=_time_of(tags, DESCRIBED_TAG),
                    )
                )
        return sorted(
            configs,
            key=lambda live: (live.since is not None, live.since or live.created),
            reverse=True,
        )

    def models(self, deployment: str) -> list[str]:
        """Return the names of the models with the owner tag of a deployment."""
        begin = f"{deployment}-"
        return [
            item["ModelName"]
            for item in self._aws.pages(
                "sagemaker", "list_models", "Models", NameContains=begin
            )
            if item["ModelName"].startswith(begin)
            and self.tags(item["ModelArn"]).get(OWNER_TAG) == deployment
        ]

    def endpoints(self) -> list[tuple[str, str, str]]:
        """Return name, status and deployment of all endpoints with an owner tag.

        Endpoints whose tags the caller may not read are left out.
        """
        endpoints = []
        for summary in self._aws.pages("sagemaker", "list_endpoints", "Endpoints"):
            try:
                owner = self.tags(summary["EndpointArn"]).get(OWNER_TAG)
            except AccessDeniedError:
                # The policy of `iam --caller` allows to read the tags of the
                # deployment's own endpoints only.
                continue
            if owner is not None:
                endpoints.append(
                    (summary["EndpointName"], summary["EndpointStatus"], owner)
                )
        return endpoints

    def rollback_alarms(self, deployment: str) -> Sequence[str]:
        """Return the names of the deployment's alarms that roll back an update.

        Alarms of scaling and of the length of a queue do not.
        """
        return [
            alarm.name
            for alarm in list_alarms(self._aws, deployment)
            if not alarm.name.endswith((*ALARM_SUFFIXES, *QUEUE_ALARM_SUFFIXES))
        ]

    def read_scaling(self, endpoint: str) -> ObservedScaling:
        """Return limits, policies and alarms of an endpoint's scaling."""
        which = scalable_target(endpoint)
        scaled = self._aws.call(SCALING, DESCRIBE_TARGETS, **_target_params(endpoint))
        policies = self._aws.pages(
            SCALING,
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
            target=_first_target(scaled),
            policies={policy["PolicyName"]: policy for policy in policies},
            alarms={alarm["AlarmName"]: alarm for alarm in alarms},
        )

    def read_scheduled_start(self, deployment: str) -> dict[str, Any] | None:
        """Return the entry that starts the endpoint, as UpdateSchedule takes it.

        Returns None if there is no such entry.
        """
        return start_request(self.schedule_entries(deployment), deployment)

    def schedule_entries(self, deployment: str) -> list[dict[str, Any]]:
        """Return the entries of a deployment's schedule that exist: start, then stop.

        The list is empty if the schedule group is missing or has another owner.
        """
        tags = schedule_group_tags(self._aws, deployment)
        if tags is None or tags.get(OWNER_TAG) != deployment:
            return []
        entries = []
        for verb in ("start", "stop"):
            try:
                entry = self._aws.call(
                    "scheduler",
                    "get_schedule",
                    GroupName=deployment,
                    Name=entry_name(deployment, verb),
                )
            except NotFoundError:
                continue
            entries.append(entry)
        return entries

    def tags(self, arn: str) -> dict[str, str]:
        """Return the tags of a SageMaker resource; empty if it was deleted."""
        items = self._aws.pages("sagemaker", "list_tags", "Tags", ResourceArn=arn)
        try:
            return tags_from(list(items))
        except NotFoundError:
            return {}


def _target_params(endpoint: str) -> dict[str, Any]:
    """Return the parameters that describe the scalable target of an endpoint."""
    which = scalable_target(endpoint)
    return {
        "ServiceNamespace": which["ServiceNamespace"],
        "ResourceIds": [which["ResourceId"]],
    }


def _first_target(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the target in an answer; None if the endpoint is not scaled."""
    return next(iter(answer.get("ScalableTargets") or ()), None)


def _endpoint_state(
    answer: Mapping[str, Any], *, is_ours: bool, target: Mapping[str, Any] | None
) -> EndpointState:
    """Return the state in an answer of DescribeEndpoint and its scaling target."""
    variant = main_variant(answer)
    pending = answer.get("PendingDeploymentSummary") or {}
    changing = main_variant(pending) or variant
    images = variant.get("DeployedImages") or ()
    return EndpointState(
        name=answer["EndpointName"],
        status=answer["EndpointStatus"],
        config=answer.get("EndpointConfigName", ""),
        is_ours=is_ours,
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
        stages=tuple(stage["Status"] for stage in changing.get("VariantStatus") or ()),
        is_scaled=target is not None,
        scaling_limits=(target["MinCapacity"], target["MaxCapacity"])
        if target
        else None,
    )


def _time_of(tags: Mapping[str, str], name: str) -> datetime | None:
    """Return the time in a tag; None if the tag is missing or has no time with zone."""
    try:
        time = datetime.fromisoformat(tags[name])
    except (KeyError, ValueError):
        return None
    return None if time.tzinfo is None else time
