"""Fake of an AWS account for planners, and a configuration for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from deploy.config import DeployConfig, config_from
from deploy.queue.scaling import ObservedScaling
from deploy.resources import DatedConfig, EndpointState, Identity

IDENTITY = Identity("123456789012", "us-east-1", "aws", "arn:aws:iam::123456789012:u")
NOW = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)
IMAGE = (
    "123456789012.dkr.ecr.us-east-1.amazonaws.com/chandra-torchserve@sha256:" + "a" * 64
)
OTHER_IMAGE = IMAGE.replace("a" * 64, "b" * 64)
TABLES: dict[str, Any] = {
    "name": "ocr",
    "region": "us-east-1",
    "image": {"uri": IMAGE},
    "model": {"bucket": "weights", "revision": "0123abc"},
}


def configured(**tables: Any) -> DeployConfig:
    """Return a complete configuration in which some settings are replaced."""
    merged = dict(TABLES)
    for name, value in tables.items():
        old = merged.get(name)
        merged[name] = {**old, **value} if isinstance(old, dict) else value
    return config_from(merged)


@dataclass
class FakeAccount:
    """Observer of an account that returns the values of its fields."""

    models: set[str] = field(default_factory=set)
    configs: set[str] = field(default_factory=set)
    endpoints: dict[str, EndpointState] = field(default_factory=dict)
    live: Sequence[str] = ()
    """Endpoint configs that have been live, newest first."""
    alarms: Sequence[str] = ()
    start_entry: dict[str, Any] | None = None
    observed: ObservedScaling = field(default_factory=ObservedScaling)

    def read_endpoint(self, name: str) -> EndpointState | None:
        return self.endpoints.get(name)

    def has_model(self, name: str) -> bool:
        return name in self.models

    def has_config(self, name: str) -> bool:
        return name in self.configs

    def history(self, deployment: str) -> Sequence[DatedConfig]:
        return [
            DatedConfig(config, created=NOW, since=NOW - timedelta(hours=age))
            for age, config in enumerate(self.live)
        ]

    def rollback_alarms(self, deployment: str) -> Sequence[str]:
        return self.alarms

    def read_scheduled_start(self, deployment: str) -> dict[str, Any] | None:
        return self.start_entry

    def read_scaling(self, endpoint: str) -> ObservedScaling:
        return self.observed
