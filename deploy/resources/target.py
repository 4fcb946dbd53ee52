"""Interface of a planner's target, from chandra.toml or from a running endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["Target"]


class NamedRequest(Protocol):
    """Resource with the request that creates it; its name ends in a digest."""

    @property
    def name(self) -> str: ...
    @property
    def request(self) -> dict[str, Any]: ...


class ModelRequest(NamedRequest, Protocol):
    """Model with the request that creates it, and the URI of its image."""

    @property
    def image(self) -> str: ...


class VariantMachines(Protocol):
    """Instance types in order of preference, and number of instances."""

    @property
    def instance_types(self) -> tuple[str, ...]: ...
    @property
    def instance_count(self) -> int: ...


class Target(Protocol):
    """Endpoint to deploy, with its config and its model."""

    @property
    def name(self) -> str: ...
    @property
    def config(self) -> NamedRequest: ...
    @property
    def model(self) -> ModelRequest: ...
    @property
    def variant(self) -> VariantMachines: ...
    @property
    def tags(self) -> Mapping[str, str]: ...
    @property
    def settings(self) -> dict[str, str]:
        """Settings by name, as text."""
        ...
