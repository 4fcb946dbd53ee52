"""Serialisation of values: JSON for the structure, separate bytes for text and images.

Type annotations control how a value is written and read. A reply can contain only
values of the called function's return type. An unexpected type, length or enum member
raises WireError. A message contains no class names, so it cannot select code to run.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import os
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NewType

__all__ = ["Descriptor", "Message", "MessageReader", "MessageWriter", "WireError"]

Descriptor = NewType("Descriptor", int)
"""File descriptor that is passed to the other process, where its number differs."""

_INTEGERS = range(-(2**63), 2**63)
_MAX_DEPTH = 32


class WireError(Exception):
    """A value cannot be serialised, or a message is invalid."""


@dataclass(slots=True)
class Message:
    """A serialised value, before it is sent and after it was received.

    `structure` has the length in bytes of each string and bytes object instead of its
    content. The contents follow in the same order: strings as UTF-8 in `text`, and each
    bytes object as an item of `blobs`.
    """

    structure: Any = None
    text: bytes = b""
    blobs: list[bytes] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)


class MessageWriter:
    """Serialiser of values to JSON, which collects strings, blobs and descriptors."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []
        self._blobs: list[bytes] = []
        self._descriptors: list[int] = []

    def finish(self, structure: Any) -> Message:
        """Return the message with `structure` and everything written so far."""
        text = b"".join(self._texts)
        return Message(structure, text, self._blobs, self._descriptors)

    def write(self, value: Any, hint: Any, depth: int = 0) -> Any:
        """Return the structure of `value`, and collect its strings and blobs.

        Raises WireError if the value is not of type `hint`.
        """
        _check_depth(depth)
        hint, is_optional = _without_none(hint)
        if value is None and (is_optional or hint is Any):
            return None
        if hint is Any:
            return self._write_plain(value, depth)
        if hint is Descriptor:
            self._descriptors.append(_check_descriptor(value))
            return len(self._descriptors) - 1
        if hint is str:
            return self._write_text(_check_type(value, str))
        if hint is bytes:
            self._blobs.append(_check_type(value, bytes))
            return len(value)
        if hint is bool:
            return _check_type(value, bool)
        if hint is int:
            return _check_int(value)
        if hint is float:
            return _check_float(value)
        if hint is types.NoneType:
            return _check_type(value, types.NoneType)
        if _is_subclass(hint, enum.Enum):
            return _check_type(value, hint).name
        if dataclasses.is_dataclass(hint):
            kind = typing.cast("type", hint)
            _check_type(value, kind)
            return [
                self.write(getattr(value, name), hint_of_field, depth + 1)
                for name, hint_of_field in _fields(kind)
            ]
        origin, kinds = typing.get_origin(hint), typing.get_args(hint)
        if origin is dict and kinds[0] is str:
            return [
                [self.write(key, str), self.write(item, kinds[1], depth + 1)]
                for key, item in _check_type(value, dict).items()
            ]
        if origin in (tuple, list):
            items = _check_type(value, origin)
            pairs = _pair(list(items), origin, kinds)
            return [self.write(item, kind, depth + 1) for item, kind in pairs]
        raise WireError(f"{hint} cannot be sent")

    def _write_text(self, value: str) -> int:
        # UTF-8 cannot encode a lone surrogate, which is replaced by a question mark.
        self._texts.append(encoded := value.encode("utf-8", "replace"))
        return len(encoded)

    def _write_plain(self, value: Any, depth: int) -> Any:
        """Return the structure of a JSON value, for which there is no annotation."""
        if isinstance(value, dict):
            return {
                _check_type(key, str): self.write(item, Any, depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.write(item, Any, depth + 1) for item in value]
        if isinstance(value, bool) or type(value) is str:
            return value
        if type(value) is int:
            return _check_int(value)
        if type(value) is float:
            return _check_float(value)
        raise WireError(
            f"a {type(value).__name__} without an annotation cannot be sent"
        )


class MessageReader:
    """Deserialiser of messages, which validates every value.

    Values must be read in the order in which they were written.
    """

    def __init__(self, message: Message) -> None:
        self._text = message.text
        self._at = 0
        self._blobs = iter(message.blobs)
        self._descriptors = message.descriptors

    def finish(self) -> None:
        """Raise WireError if there are strings or blobs that were not read."""
        if self._at != len(self._text) or next(self._blobs, None) is not None:
            raise WireError("the message has data that its structure does not refer to")

    def read(self, structure: Any, hint: Any, depth: int = 0) -> Any:
        """Return the value of type `hint` whose part of the structure is `structure`.

        Raises WireError if it is not of that type.
        """
        _check_depth(depth)
        hint, is_optional = _without_none(hint)
        if structure is None and (is_optional or hint in (Any, types.NoneType)):
            return None
        if hint is Any:
            return structure
        if hint is Descriptor:
            return self._read_descriptor(_check_int(structure))
        if hint is str:
            return self._read_text(_check_int(structure))
        if hint is bytes:
            return self._read_blob(_check_int(structure))
        if hint is bool:
            return _check_type(structure, bool)
        if hint is int:
            return _check_int(structure)
        if hint is float:
            return _check_float(structure)
        if _is_subclass(hint, enum.Enum):
            member = hint.__members__.get(_check_type(structure, str))
            return _check_type(member, hint)
        if dataclasses.is_dataclass(hint):
            return self._read_dataclass(structure, typing.cast("type", hint), depth)
        origin, kinds = typing.get_origin(hint), typing.get_args(hint)
        if origin is dict and kinds[0] is str:
            return self._read_dict(structure, kinds[1], depth)
        if origin in (tuple, list):
            pairs = _pair(_check_type(structure, list), origin, kinds)
            return origin([self.read(item, kind, depth + 1) for item, kind in pairs])
        raise WireError(f"{hint} cannot be received")

    def _read_text(self, length: int) -> str:
        """Return the next string; raise WireError if it is shorter or not UTF-8."""
        end = self._at + length
        if length < 0 or end > len(self._text):
            raise WireError("a string extends beyond the message")
        try:
            text = self._text[self._at : end].decode()
        except UnicodeDecodeError as error:
            raise WireError("a string is not UTF-8") from error
        self._at = end
        return text

    def _read_blob(self, length: int) -> bytes:
        """Return the next blob; raise WireError unless it has this length."""
        blob = next(self._blobs, None)
        if blob is None or len(blob) != length:
            raise WireError("bytes are missing, or differ from their announced length")
        return blob

    def _read_descriptor(self, index: int) -> int:
        if not 0 <= index < len(self._descriptors):
            raise WireError("a file descriptor is missing")
        return self._descriptors[index]

    def _read_dict(self, structure: Any, kind: Any, depth: int) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for pair in _check_type(structure, list):
            if len(_check_type(pair, list)) != 2:
                raise WireError("an item of a dictionary is not a pair")
            key = self._read_text(_check_int(pair[0]))
            if key in table:
                raise WireError("a dictionary has a duplicate key")
            table[key] = self.read(pair[1], kind, depth + 1)
        return table

    def _read_dataclass(self, structure: Any, hint: type, depth: int) -> Any:
        fields = _fields(hint)
        if len(_check_type(structure, list)) != len(fields):
            raise WireError(f"{hint.__name__} must have {len(fields)} fields")
        values = {
            name: self.read(item, kind, depth + 1)
            for item, (name, kind) in zip(structure, fields, strict=True)
        }
        try:
            return hint(**values)
        except Exception as error:  # a class may validate its own fields
            raise WireError(f"{hint.__name__} is invalid: {error}") from error


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Return X for the annotation `X | None`, and whether None is allowed."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
    if len(kinds) != 1:
        raise WireError(f"{hint} is a union of several types")
    return kinds[0], True


@functools.lru_cache
def _fields(hint: Any) -> tuple[tuple[str, Any], ...]:
    kinds = typing.get_type_hints(hint)
    return tuple((item.name, kinds[item.name]) for item in dataclasses.fields(hint))


def _pair(items: list[Any], origin: Any, kinds: Any) -> Iterator[tuple[Any, Any]]:
    """Pair items with their types in `list[X]`, `tuple[X, ...]` or `tuple[X, Y]`."""
    if origin is list or (len(kinds) == 2 and kinds[1] is Ellipsis):
        return ((item, kinds[0]) for item in items)
    if len(items) != len(kinds):
        raise WireError(f"expected {len(kinds)} values, not {len(items)}")
    return zip(items, kinds, strict=True)


def _is_subclass(hint: Any, base: type) -> bool:
    return isinstance(hint, type) and issubclass(hint, base)


def _check_type(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise WireError(f"expected {kind.__name__}, not {type(value).__name__}")
    return value


def _check_int(value: Any) -> int:
    if type(value) is not int or value not in _INTEGERS:
        raise WireError(f"expected a 64-bit int, not {type(value).__name__}")
    return value


def _check_descriptor(value: Any) -> int:
    """Return `value` if it is an open file descriptor."""
    try:
        os.fstat(_check_int(value))
    except OSError as error:
        raise WireError(f"descriptor {value} is not open") from error
    return value  # type: ignore[no-any-return]


def _check_float(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise WireError(f"expected a finite float, not {type(value).__name__}")
    return float(value)


def _check_depth(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise WireError(f"values are nested deeper than {_MAX_DEPTH}")
