"""chandra.toml, and chandra.lock.json beside it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.config.deployment import DeployConfig
from deploy.config.mapping import config_from
from deploy.config.rules import EXAMPLE
from deploy.errors import ConfigError

__all__ = ["lock_path", "read_config", "write_lock"]

REWRITE = "delete it; chandra-sagemaker image push and model stage write it again"


def read_config(path: Path) -> DeployConfig:
    """Raises ConfigError that names the file and the setting."""
    try:
        mapping = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no {path}", hint="chandra-sagemaker init"
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint=EXAMPLE) from error
    try:
        return config_from(mapping, read_lock(path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", hint=error.hint) from error


def lock_path(path: Path) -> Path:
    """chandra.lock.json beside chandra.toml."""
    return path.with_suffix(".lock.json")


def read_lock(path: Path) -> dict[str, dict[str, Any]]:
    lock = lock_path(path)
    try:
        content = json.loads(lock.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{lock} cannot be read: {error}", hint=REWRITE) from error
    if not isinstance(content, dict) or not all(
        isinstance(table, dict) for table in content.values()
    ):
        raise ConfigError(
            f"{lock} is not as it was written",
            hint=REWRITE,
        )
    return content


def write_lock(path: Path, table: str, values: Mapping[str, Any]) -> Path:
    """Record what was pushed or staged; other tables stay as they are."""
    content = read_lock(path) | {table: dict(values)}
    lock = lock_path(path)
    try:
        lock.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    except OSError as error:
        raise ConfigError(
            f"{lock} cannot be written: {error.strerror}",
            hint=f"make its folder writable and run it again, or set [{table}] in "
            f"{path.name} to {json.dumps(dict(values))}",
        ) from error
    return lock
