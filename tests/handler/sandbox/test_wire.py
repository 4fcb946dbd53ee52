"""Tests of the serialisation of values, and of invalid messages."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import socket
import tracemalloc
import types
import typing
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from handler.preprocess import Limits
from handler.profiles import PROFILES, BboxFormat, Sizing
from handler.sandbox import channel
from handler.sandbox.wire import (
    Descriptor,
    Message,
    MessageReader,
    MessageWriter,
    WireError,
)
from handler.schema import DocumentInfo, Page, PageContent

TYPES = (
    DocumentInfo,
    Page,
    PageContent,
    Sizing,
    Limits,
    BboxFormat,
    dict[str, bytes],
    dict[str, tuple[int, int, int, int]],
    tuple[str, bool],
    list[str | None],
    float | None,
)


# Surrogates are excluded, because UTF-8 cannot encode them.
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(st.characters(codec="utf-8")),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bytes: st.binary(),
    bool: st.booleans(),
    types.NoneType: st.none(),
}


def values_of_type(hint: Any) -> st.SearchStrategy[Any]:
    if hint in PLAIN:
        return PLAIN[hint]
    if dataclasses.is_dataclass(hint):
        fields = typing.get_type_hints(hint)
        values = {name: values_of_type(kind) for name, kind in fields.items()}
        return st.builds(typing.cast("type", hint), **values)
    if isinstance(hint, enum.EnumType):
        return st.sampled_from(list(hint))
    origin, kinds = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return st.one_of(*map(values_of_type, kinds))
    if origin is dict:
        return st.dictionaries(*map(values_of_type, kinds), max_size=5)
    if origin is list or kinds[1] is Ellipsis:
        return st.lists(values_of_type(kinds[0]), max_size=5).map(origin)
    return st.tuples(*map(values_of_type, kinds))


def serialise(value: Any, hint: Any) -> Message:
    writer = MessageWriter()
    return writer.finish(writer.write(value, hint))


def deserialise(message: Message, hint: Any) -> Any:
    reader = MessageReader(message)
    value = reader.read(message.structure, hint)
    reader.finish()
    return value


def to_sent_bytes(message: Message) -> bytes:
    """Return the bytes that are sent for a message."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        channel.send(ours.fileno(), message, 10)
        ours.shutdown(socket.SHUT_WR)
        with theirs.makefile("rb") as file:
            return file.read()


def from_sent_bytes(message: bytes) -> Message:
    """Return the message that is received when these bytes are sent."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        ours.sendall(message)
        ours.shutdown(socket.SHUT_WR)
        return channel.receive(theirs.fileno(), 10)


typed_values = st.sampled_from(TYPES).flatmap(
    lambda hint: st.tuples(st.just(hint), values_of_type(hint))
)


@given(typed_values)
def test_value_is_received_as_it_was_sent(case):
    hint, value = case

    assert (
        deserialise(from_sent_bytes(to_sent_bytes(serialise(value, hint))), hint)
        == value
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.sampled_from(TYPES), json_values, st.binary(), st.lists(st.binary()))
def test_arbitrary_message_is_a_value_or_an_error(hint, structure, text, blobs):
    try:
        value = deserialise(Message(structure, text, blobs), hint)
    except WireError:
        return

    # Serialising the value again validates that it has the type `hint`.
    serialise(value, hint)


@given(typed_values, st.data())
def test_corrupt_message_is_a_value_or_an_error(case, data):
    hint, value = case
    message = bytearray(to_sent_bytes(serialise(value, hint)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at] = data.draw(st.integers(0, 255))

    try:
        value_read = deserialise(from_sent_bytes(bytes(message)), hint)
    except (WireError, EOFError):
        return

    serialise(value_read, hint)


@given(st.binary(max_size=1000))
@settings(max_examples=200)
def test_arbitrary_bytes_are_a_message_or_an_error(message):
    with contextlib.suppress(WireError, EOFError):
        from_sent_bytes(message)


@pytest.mark.parametrize(
    "head",
    [
        (channel.MAX_STRUCTURE_BYTES + 1, 0, 0, 0),
        (0, channel.MAX_TEXT_BYTES + 1, 0, 0),
        (0, 0, channel.MAX_BLOBS + 1, 0),
        (0, 0, 0, 1),
    ],
)
def test_message_above_a_limit_is_rejected_by_its_header(head):
    with pytest.raises(WireError):
        from_sent_bytes(channel._HEAD.pack(*head))


def test_announced_length_allocates_no_memory():
    head = channel._HEAD.pack(2, 0, 1, 0) + (200 << 20).to_bytes(8, "big") + b"{}"
    tracemalloc.start()

    with pytest.raises(EOFError):
        from_sent_bytes(head)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_blobs_above_the_limit_are_rejected_by_length():
    length = (channel.MAX_BLOB_BYTES + 1).to_bytes(8, "big")

    with pytest.raises(WireError, match="in blobs"):
        from_sent_bytes(channel._HEAD.pack(2, 0, 1, 0) + length)


@pytest.mark.parametrize("structure", [b"[" * 100_000, b"9" * 10_000, b"{", b"\xff"])
def test_structure_that_is_not_json_is_rejected(structure):
    with pytest.raises(WireError, match="not JSON"):
        from_sent_bytes(channel._HEAD.pack(len(structure), 0, 0, 0) + structure)


def test_unrequested_files_are_discarded(tmp_path):
    ours, theirs = socket.socketpair()
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with ours, theirs, path.open("rb") as file:
        message = serialise(Descriptor(file.fileno()), Descriptor)
        channel.send(ours.fileno(), message, 10)

        with pytest.raises(WireError, match="received 0 of 1 files"):
            channel.receive(theirs.fileno(), 10)


def test_send_times_out_if_the_receiver_does_not_read():
    ours, theirs = socket.socketpair()

    with ours, theirs, pytest.raises(TimeoutError):
        channel.send(ours.fileno(), serialise(bytes(8 << 20), bytes), 0.1)


@dataclass(frozen=True)
class _Checked:
    """Dataclass that validates its fields."""

    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("below 0")


def test_invalid_dataclass_raises_wire_error():
    with pytest.raises(WireError, match="below 0"):
        deserialise(Message([-1]), _Checked)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("1", int),
        (True, int),
        (2**63, int),
        (1, bool),
        (1, str),
        (bytearray(b"x"), bytes),
        (float("nan"), float),
        ({1: b""}, dict[str, bytes]),
        ((1,), tuple[int, int]),
        (None, int),
        (object(), Any),
        (lambda: None, Any),
        (1, int | str),
        ({1}, set[int]),
        (PROFILES["mini"].sizing, Limits),
    ],
)
def test_value_of_wrong_type_is_not_sent(value, hint):
    with pytest.raises(WireError):
        serialise(value, hint)


def test_json_values_need_no_annotation():
    value = {"a": [1, 2.5, True, None, "text"]}

    assert (
        deserialise(from_sent_bytes(to_sent_bytes(serialise(value, Any))), Any) == value
    )


def test_message_contains_no_class_names():
    message = serialise(PageContent(html="<p>x</p>"), PageContent)

    assert json.dumps(message.structure) == "[[], 8, 0, 0, [], []]"
    assert message.text == b"<p>x</p>"
