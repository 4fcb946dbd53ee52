"""Serialise values: JSON for the structure, separate bytes for text and images.

Annotations decide how a value is written and read. A reply can only hold values of the
called function's return type: an unexpected type, length or enum member is a WireError.
A message names no class, so it cannot choose code that runs when it is read.
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

__all__ = ["Descriptor", "Parcel", "Reader", "WireError", "Writer"]

Descriptor = NewType("Descriptor", int)
"""An open file, which is passed to the other process under another number."""

_INTEGERS = range(-(2**63), 2**63)
_MAX_DEPTH = 32


class WireError(Exception):
    """A value cannot be sent, or a message is invalid."""


@dataclass(slots=True)
class Parcel:
    """A message before it is sent and after it has arrived.

    Texts and bytes are written into `structure` as their length in bytes. They follow
    in the same order: UTF-8 in `text`, each bytes object as one of `blobs`.
    """

    structure: Any = None
    text: bytes = b""
    blobs: list[bytes] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)


class Writer:
    """Turns values into JSON, and collects texts, blobs and open files beside it."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []
        self._blobs: list[bytes] = []
        self._descriptors: list[int] = []

    def parcel(self, structure: Any) -> Parcel:
        """Return the message with `structure` and everything written so far."""
        text = b"".join(self._texts)
        return Parcel(structure, text, self._blobs, self._descriptors)

    def write(self, value: Any, hint: Any, depth: int = 0) -> Any:
        """Return `value` as JSON. Raises WireError where it is not of type `hint`."""
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
            pairs = _paired(list(items), origin, kinds)
            return [self.write(item, kind, depth + 1) for item, kind in pairs]
        raise WireError(f"{hint} cannot be sent")

    def _write_text(self, value: str) -> int:
        # UTF-8 cannot encode a lone surrogate; it arrives as a question mark.
        self._texts.append(encoded := value.encode("utf-8", "replace"))
        return len(encoded)

    def _write_plain(self, value: Any, depth: int) -> Any:
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


class Reader:
    """Reads what a Writer wrote, in the same order, and validates all of it."""

    def __init__(self, parcel: Parcel) -> None:
        self._text = parcel.text
        self._at = 0
        self._blobs = iter(parcel.blobs)
        self._descriptors = parcel.descriptors

    def finish(self) -> None:
        """Raise WireError if text or blobs are left over."""
        if self._at != len(self._text) or next(self._blobs, None) is not None:
            raise WireError("the message holds more than its structure names")

    def read(self, found: Any, hint: Any, depth: int = 0) -> Any:
        """Return the value of type `hint` that is written as `found`."""
        _check_depth(depth)
        hint, is_optional = _without_none(hint)
        if found is None and (is_optional or hint in (Any, types.NoneType)):
            return None
        if hint is Any:
            return found
        if hint is Descriptor:
            return self._read_descriptor(_check_int(found))
        if hint is str:
            return self._read_text(_check_int(found))
        if hint is bytes:
            return self._read_blob(_check_int(found))
        if hint is bool:
            return _check_type(found, bool)
        if hint is int:
            return _check_int(found)
        if hint is float:
            return _check_float(found)
        if _is_subclass(hint, enum.Enum):
            member = hint.__members__.get(_check_type(found, str))
            return _check_type(member, hint)
        if dataclasses.is_dataclass(hint):
            return self._read_dataclass(found, typing.cast("type", hint), depth)
        origin, kinds = typing.get_origin(hint), typing.get_args(hint)
        if origin is dict and kinds[0] is str:
            return self._read_dict(found, kinds[1], depth)
        if origin in (tuple, list):
            pairs = _paired(_check_type(found, list), origin, kinds)
            return origin([self.read(item, kind, depth + 1) for item, kind in pairs])
        raise WireError(f"{hint} cannot be received")

    def _read_text(self, length: int) -> str:
        end = self._at + length
        if length < 0 or end > len(self._text):
            raise WireError("a text ends after the message")
        try:
            text = self._text[self._at : end].decode()
        except UnicodeDecodeError as error:
            raise WireError("a text is not UTF-8") from error
        self._at = end
        return text

    def _read_blob(self, length: int) -> bytes:
        blob = next(self._blobs, None)
        if blob is None or len(blob) != length:
            raise WireError("bytes are missing, or of another length than announced")
        return blob

    def _read_descriptor(self, index: int) -> int:
        if not 0 <= index < len(self._descriptors):
            raise WireError("an open file is missing")
        return self._descriptors[index]

    def _read_dict(self, found: Any, kind: Any, depth: int) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for pair in _check_type(found, list):
            if len(_check_type(pair, list)) != 2:
                raise WireError("an entry of a table is not a pair")
            key = self._read_text(_check_int(pair[0]))
            if key in table:
                raise WireError("a table holds a key twice")
            table[key] = self.read(pair[1], kind, depth + 1)
        return table

    def _read_dataclass(self, found: Any, hint: type, depth: int) -> Any:
        fields = _fields(hint)
        if len(_check_type(found, list)) != len(fields):
            raise WireError(f"{hint.__name__} has {len(fields)} fields")
        values = {
            name: self.read(item, kind, depth + 1)
            for item, (name, kind) in zip(found, fields, strict=True)
        }
        try:
            return hint(**values)
        except Exception as error:  # a class may validate its own fields
            raise WireError(f"{hint.__name__} refuses its fields: {error}") from error


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Return X of `X | None`, and whether None is allowed."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
    if len(kinds) != 1:
        raise WireError(f"{hint} is more than one type")
    return kinds[0], True


@functools.lru_cache
def _fields(hint: Any) -> tuple[tuple[str, Any], ...]:
    kinds = typing.get_type_hints(hint)
    return tuple((item.name, kinds[item.name]) for item in dataclasses.fields(hint))


def _paired(items: list[Any], origin: Any, kinds: Any) -> Iterator[tuple[Any, Any]]:
    """Pair items with their types, by `list[X]`, `tuple[X, ...]` or `tuple[X, Y]`."""
    if origin is list or (len(kinds) == 2 and kinds[1] is Ellipsis):
        return ((item, kinds[0]) for item in items)
    if len(items) != len(kinds):
        raise WireError(f"{len(items)} values where {len(kinds)} belong")
    return zip(items, kinds, strict=True)


def _is_subclass(hint: Any, base: type) -> bool:
    return isinstance(hint, type) and issubclass(hint, base)


def _check_type(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise WireError(f"{type(value).__name__} where {kind.__name__} belongs")
    return value


def _check_int(value: Any) -> int:
    if type(value) is not int or value not in _INTEGERS:
        raise WireError(f"{type(value).__name__} where a 64-bit int belongs")
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
        raise WireError(f"{type(value).__name__} where a finite float belongs")
    return float(value)


def _check_depth(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise WireError(f"values are nested deeper than {_MAX_DEPTH}")
