"""Calls that change an endpoint, with the sentences that a dry run prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from deploy.config import UpdateTable
from deploy.plan.actions import Call
from deploy.resources import (
    LIVE_TAG,
    STOPPED_TAG,
    VARIANT,
    EndpointState,
    tag_list,
)

__all__ = [
    "create_endpoint",
    "create_resource",
    "delete_endpoint",
    "note_live",
    "note_stopped",
    "resize_endpoint",
    "update_endpoint",
]


def create_resource(noun: str, name: str, request: dict[str, Any]) -> Call:
    """Return the call that creates a model or an endpoint config.

    It may exist already: its name ends in a digest of its contents.
    """
    words = noun.replace("_", " ")
    return Call(
        "sagemaker",
        f"create_{noun}",
        request,
        f"create {words} {name}",
        may_exist=True,
        retry_if_missing=True,
    )


def create_endpoint(name: str, config: str, tags: Mapping[str, str]) -> Call:
    """Return the call that creates an endpoint."""
    return Call(
        "sagemaker",
        "create_endpoint",
        {"EndpointName": name, "EndpointConfigName": config, "Tags": tag_list(tags)},
        f"create endpoint {name} with config {config}",
        may_exist=True,
        retry_if_missing=True,
    )


def update_endpoint(
    state: EndpointState, config: str, update: UpdateTable, alarms: Sequence[str]
) -> Call:
    """Return the call that gives an endpoint another config.

    The old machines serve for `update.bake_seconds` after the new ones do. SageMaker
    rolls the update back if one of the alarms goes off until then.
    """
    deployment: dict[str, Any] = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": "ALL_AT_ONCE",
                "WaitIntervalInSeconds": 0,
            },
            "TerminationWaitInSeconds": update.bake_seconds,
            "MaximumExecutionTimeoutInSeconds": 7200 + update.bake_seconds,
        }
    }
    if alarms:
        deployment["AutoRollbackConfiguration"] = {
            "Alarms": [{"AlarmName": alarm} for alarm in alarms]
        }
    params: dict[str, Any] = {
        "EndpointName": state.name,
        "EndpointConfigName": config,
        "DeploymentConfig": deployment,
    }
    if state.is_scaled:
        # The scaling policy sets the number of machines, not the config.
        params["RetainAllVariantProperties"] = True
        params["ExcludeRetainedVariantProperties"] = [
            {"VariantPropertyType": "DataCaptureConfig"}
        ]
    alarm_words = f", watching {len(alarms)} alarms" if alarms else ""
    # A call waits until the endpoint has settled, and it then has its pending config.
    old = state.pending_config or state.config
    return Call(
        "sagemaker",
        "update_endpoint",
        params,
        f"update endpoint {state.name} from config {old} to {config}{alarm_words}",
        retry_if_missing=True,
    )


def delete_endpoint(name: str) -> Call:
    """Return the call that deletes an endpoint; config and model stay."""
    return Call(
        "sagemaker",
        "delete_endpoint",
        {"EndpointName": name},
        f"delete endpoint {name}",
        may_be_missing=True,
    )


def note_live(
    config: str, arn: str, now: datetime, tags: Sequence[str] = (LIVE_TAG,)
) -> Call:
    """Return the call that tags a config with the time at which it went into service.

    `tags` are the names of the tags that get the time. The default is the tag of the
    history. DESCRIBED_TAG records that chandra.toml describes the config.
    """
    what = "is live" if LIVE_TAG in tags else "is what chandra.toml describes"
    return Call(
        "sagemaker",
        "add_tags",
        {
            "ResourceArn": arn,
            "Tags": tag_list(dict.fromkeys(tags, now.isoformat())),
        },
        f"note on config {config} that it {what}",
        retry_if_missing=True,
    )


def note_stopped(config: str, arn: str, now: datetime) -> Call:
    """Return the call that tags a config as stopped on purpose.

    It may fail because the config is missing or the caller has no right to tag it.
    """
    return Call(
        "sagemaker",
        "add_tags",
        {"ResourceArn": arn, "Tags": tag_list({STOPPED_TAG: now.isoformat()})},
        f"note on config {config} that it is stopped",
        may_be_missing=True,
        may_be_denied=True,
    )


def resize_endpoint(state: EndpointState, count: int) -> Call:
    """Return the call that resizes an endpoint, which keeps its config."""
    current = state.desired_count
    if current is None:
        current = state.instance_count
    return Call(
        "sagemaker",
        "update_endpoint_weights_and_capacities",
        {
            "EndpointName": state.name,
            "DesiredWeightsAndCapacities": [
                {"VariantName": VARIANT, "DesiredInstanceCount": count}
            ],
        },
        f"set endpoint {state.name} to {count} instances: it has {current}, which "
        "something else set",
    )
