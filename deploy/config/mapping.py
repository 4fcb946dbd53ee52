"""Conversion of TOML tables into a DeployConfig."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any

from deploy.config.deployment import DeployConfig
from deploy.config.rules import EXAMPLE
from deploy.errors import ConfigError

__all__ = ["config_from"]


def config_from(
    mapping: Mapping[str, Any], lock: Mapping[str, Any] | None = None
) -> DeployConfig:
    """Return the configuration in the tables of chandra.toml.

    `lock` has the values for settings that are not in `mapping`. Raises ConfigError
    that names the setting."""
    merged = dict(mapping)
    for table, recorded in (lock or {}).items():
        # Earlier versions recorded a CUDA version that was not read from the image.
        values = {
            name: value
            for name, value in recorded.items()
            if (table, name) != ("image", "cuda")
        }
        chosen = merged.get(table, {})
        # A value that is not a table is rejected below, with its name.
        merged[table] = {**values, **chosen} if isinstance(chosen, dict) else chosen
    config = _build(DeployConfig, merged, "")
    assert isinstance(config, DeployConfig)
    return config


def _build(cls: type, mapping: object, where: str) -> Any:
    """Return a dataclass with a table's values; raise ConfigError for unknown names."""
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where.rstrip('.')} must be a table", hint=EXAMPLE)
    kinds = typing.get_type_hints(cls)
    for name in mapping:
        if name not in kinds:
            close = difflib.get_close_matches(str(name), kinds, n=1)
            nearest = f"; did you mean {where}{close[0]}?" if close else ""
            raise ConfigError(f"unknown setting {where}{name}{nearest}", hint=EXAMPLE)
    return cls(
        **{name: _convert(kinds[name], v, where + name) for name, v in mapping.items()}
    )


def _convert(kind: Any, value: object, where: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build(kind, value, f"{where}.")
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _convert(arguments[0], value, where)
    if origin is tuple:
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise ConfigError(
                f"{where} must be a list of texts, not {value!r}", hint=EXAMPLE
            )
        return tuple(value)
    if origin is not None:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} must be a table", hint=EXAMPLE)
        return {str(name): _to_text(v, f"{where}.{name}") for name, v in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {str: "text", int: "a whole number", float: "a number"}
        wanted = words.get(kind, "true or false")
        raise ConfigError(f"{where} must be {wanted}, not {value!r}", hint=EXAMPLE)
    return value


def _to_text(value: object, where: str) -> str:
    """Return a TOML value as text for a container's environment."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigError(f"{where} must be text", hint=EXAMPLE)
