"""Interface of a planner's target, from chandra.toml or from a running endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["Target"]


class NamedRequest(Protocol):
    """A resource that is created under the digest of its contents."""

    @property
    def name(self) -> str: ...
    @property
    def request(self) -> dict[str, Any]: ...


class ModelRequest(NamedRequest, Protocol):
    @property
    def image(self) -> str: ...


class MachinesWanted(Protocol):
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
    def variant(self) -> MachinesWanted: ...
    @property
    def tags(self) -> Mapping[str, str]: ...
    @property
    def settings(self) -> dict[str, str]:
        """Settings by name, as text."""
        ...
