"""Reading of chandra.toml, and reading and writing of the lock file."""

from __future__ import annotations

import dataclasses
import difflib
import errno
import json
import os
import secrets
import stat
import tomllib
import types
import typing
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from deploy.config.deployment import DeployConfig
from deploy.config.rules import EXAMPLE
from deploy.errors import ConfigError

__all__ = [
    "config_from",
    "drop_from_lock",
    "lock_path",
    "read_config",
    "read_lock",
    "write_lock",
]

REWRITE = "delete it; chandra-sagemaker image push and model stage write it again"
READABLE = (
    "make it a file that you may read, or delete it; chandra-sagemaker image push and "
    "model stage write it again"
)


def read_config(path: Path) -> DeployConfig:
    """Read chandra.toml, and the lock file for settings that it does not have.

    Raises ConfigError that names the setting and its file, or a file that cannot be
    read.
    """
    try:
        mapping = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no {path}", hint="chandra-sagemaker init"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", hint=EXAMPLE
        ) from error
    except (ValueError, RecursionError) as error:
        # The file is not UTF-8, or not TOML.
        raise ConfigError(f"{path} cannot be read: {error}", hint=EXAMPLE) from error
    lock = read_lock(path)
    try:
        config = config_from(mapping)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", hint=error.hint) from error
    if not lock:
        return config
    try:
        return config_from(mapping, lock)
    except ConfigError as error:
        # chandra.toml alone was accepted, so the fault is in the lock file.
        raise ConfigError(
            f"{lock_path(path)}: {error.message}", hint=REWRITE
        ) from error


def lock_path(path: Path) -> Path:
    """Return the path of the lock file, chandra.lock.json beside chandra.toml."""
    return path.with_suffix(".lock.json")


def read_lock(path: Path) -> dict[str, dict[str, Any]]:
    """Return the tables of the lock file beside `path`; empty without a lock file.

    Raises ConfigError that names the lock file.
    """
    lock = lock_path(path)
    try:
        content = json.loads(lock.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(
            f"{lock} cannot be read: {error.strerror}", hint=READABLE
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{lock} is not valid JSON: {error}", hint=REWRITE) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{lock} must hold a JSON object", hint=REWRITE)
    for name, table in content.items():
        if not isinstance(table, dict):
            raise ConfigError(
                f"{lock}: {name} must be a JSON object, not {table!r}", hint=REWRITE
            )
    return content


def write_lock(path: Path, table: str, values: Mapping[str, Any]) -> Path:
    """Replace a table of the lock file beside `path`, and return the lock's path.

    The file is created if it does not exist. The other tables stay as they are. Raises
    ConfigError that names the file.
    """
    content = read_lock(path) | {table: dict(values)}
    lock = lock_path(path)
    try:
        _write(lock, content)
    except OSError as error:
        raise ConfigError(
            f"{lock} cannot be written: {error.strerror}",
            hint=f"make its folder writable and run it again, or set [{table}] in "
            f"{path.name} to {json.dumps(dict(values))}",
        ) from error
    return lock


def drop_from_lock(path: Path, tables: Collection[str]) -> None:
    """Remove tables from the lock file, and delete it when no table is left.

    Nothing happens if the file has none of the tables. Raises ConfigError that names
    the lock file.
    """
    lock = lock_path(path)
    content = read_lock(path)
    left = {name: table for name, table in content.items() if name not in tables}
    if left == content:
        return
    try:
        if left:
            _write(lock, left)
        else:
            lock.unlink()
    except OSError as error:
        raise ConfigError(
            f"{lock} cannot be changed: {error.strerror}",
            hint=f"delete {lock} yourself before you deploy again",
        ) from error


def _write(lock: Path, content: Mapping[str, Any]) -> None:
    """Replace the lock file atomically, so that no error or kill leaves half of it.

    Its permissions stay, and so does a symbolic link to it. Raises OSError.
    """
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    # The file behind a link is replaced, in its own folder.
    lock = lock.resolve()
    mode = _permissions_of(lock)
    beside = lock.with_name(f".{lock.name}.{os.getpid()}.{secrets.token_hex(4)}")
    # A new file gets the permissions of the umask, unlike a file of mkstemp.
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(lock)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _permissions_of(lock: Path) -> int | None:
    """Return the permissions of a file; None if it does not exist.

    Raises PermissionError for a read-only file.
    """
    try:
        mode = stat.S_IMODE(lock.stat().st_mode)
    except FileNotFoundError:
        return None
    if not os.access(lock, os.W_OK):
        # Replacing a read-only file would succeed, against the intent of its owner.
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(lock))
    return mode


def config_from(
    mapping: Mapping[str, Any], lock: Mapping[str, Any] | None = None
) -> DeployConfig:
    """Return the configuration in the tables of chandra.toml.

    `lock` has the values for settings that are not in `mapping`. Raises ConfigError
    that names an unknown or invalid setting.
    """
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
    """Return an instance of the dataclass `cls` with a table's values.

    `where` is the name of the table with a dot, empty for the whole file. Raises
    ConfigError for an unknown name or an invalid value.
    """
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
    """Return a TOML value as `kind`, the type of a dataclass field.

    `where` names the setting in the ConfigError for a value of another type.
    """
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
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _member_of(kind, _convert(str, value, where), where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {str: "text", int: "a whole number", float: "a number"}
        expected = words.get(kind, "true or false")
        raise ConfigError(f"{where} must be {expected}, not {value!r}", hint=EXAMPLE)
    return value


def _member_of(kind: type[StrEnum], text: str, where: str) -> StrEnum:
    """Return the member with this value; ConfigError names setting and choices."""
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(
            f"{where} must be {' or '.join(kind)}, not {text}", hint=EXAMPLE
        ) from None


def _to_text(value: object, where: str) -> str:
    """Return a TOML value as text for a container's environment, such as `true`.

    Raises ConfigError for a list, a table or a date.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise ConfigError(f"{where} must be text", hint=EXAMPLE)
