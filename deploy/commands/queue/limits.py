"""Changes to the scaling limits of an asynchronous endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deploy.commands.endpoint.steps.changes import Change
from deploy.queue.scaling import ObservedScaling, Scaling
from deploy.resources import differences_between

__all__ = ["add_limit_changes"]


def add_limit_changes(
    change: Change, observed: ObservedScaling, scaling: Scaling
) -> Change:
    """Return the change with the scaling limits, priced for the most machines allowed.

    Nothing records who set a limit, so each limit that differs is listed as unclear.
    """
    old = _limits(observed)
    new = {
        "asynchronous.min_instances": str(scaling.min_instances),
        "asynchronous.max_instances": str(scaling.max_instances),
        "asynchronous.backlog_per_instance": f"{scaling.backlog_per_instance:g}",
        "asynchronous.scale_out_seconds": str(scaling.scale_out_seconds),
        "asynchronous.idle_seconds": str(scaling.idle_seconds),
    }
    differences = differences_between(old, {name: new[name] for name in old})
    most = int(old.get("asynchronous.max_instances", 1))
    before = change.old and replace(change.old, instance_count=most)
    return replace(
        change,
        old=before,
        new=replace(change.new, instance_count=scaling.max_instances),
        differences=(*change.differences, *differences),
        unclear=(*change.unclear, *differences),
        is_most=True,
    )


def _limits(observed: ObservedScaling) -> dict[str, str]:
    """Return the limits that are set, by their names in chandra.toml."""
    target: Mapping[str, Any] = observed.target or {}
    policy = observed.policies.get("backlog", {})
    tracking = policy.get("TargetTrackingScalingPolicyConfiguration", {})
    idle: Mapping[str, Any] = next(
        (alarm for name, alarm in observed.alarms.items() if name.endswith("-idle")), {}
    )
    values = {
        "asynchronous.min_instances": target.get("MinCapacity"),
        "asynchronous.max_instances": target.get("MaxCapacity"),
        "asynchronous.backlog_per_instance": tracking.get("TargetValue"),
        "asynchronous.scale_out_seconds": tracking.get("ScaleOutCooldown"),
    }
    limits = {name: f"{v:g}" for name, v in values.items() if v is not None}
    if "EvaluationPeriods" in idle:
        seconds = 60 * idle["EvaluationPeriods"]
        limits["asynchronous.idle_seconds"] = str(seconds)
    return limits
