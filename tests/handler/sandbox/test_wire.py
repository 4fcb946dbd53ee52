"""Values come back as they were, and nothing else is ever read from a message."""

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
from handler.sandbox.wire import Descriptor, Parcel, Reader, WireError, Writer
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


# UTF-8 has no bytes for surrogates.
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(st.characters(codec="utf-8")),
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bytes: st.binary(),
    bool: st.booleans(),
    types.NoneType: st.none(),
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    if hint in PLAIN:
        return PLAIN[hint]
    if dataclasses.is_dataclass(hint):
        fields = typing.get_type_hints(hint)
        values = {name: values_of(kind) for name, kind in fields.items()}
        return st.builds(typing.cast("type", hint), **values)
    if isinstance(hint, enum.EnumType):
        return st.sampled_from(list(hint))
    origin, kinds = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return st.one_of(*map(values_of, kinds))
    if origin is dict:
        return st.dictionaries(*map(values_of, kinds), max_size=5)
    if origin is list or kinds[1] is Ellipsis:
        return st.lists(values_of(kinds[0]), max_size=5).map(origin)
    return st.tuples(*map(values_of, kinds))


def packed(value: Any, hint: Any) -> Parcel:
    writer = Writer()
    return writer.parcel(writer.write(value, hint))


def unpacked(parcel: Parcel, hint: Any) -> Any:
    reader = Reader(parcel)
    value = reader.read(parcel.structure, hint)
    reader.finish()
    return value


def sent(parcel: Parcel) -> bytes:
    """The message as bytes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        channel.send(ours.fileno(), parcel, 10)
        ours.shutdown(socket.SHUT_WR)
        with theirs.makefile("rb") as file:
            return file.read()


def received(message: bytes) -> Parcel:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        ours.sendall(message)
        ours.shutdown(socket.SHUT_WR)
        return channel.receive(theirs.fileno(), 10)


typed_values = st.sampled_from(TYPES).flatmap(
    lambda hint: st.tuples(st.just(hint), values_of(hint))
)


@given(typed_values)
def test_a_value_arrives_as_it_was_sent(case):
    hint, value = case

    assert unpacked(received(sent(packed(value, hint))), hint) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.sampled_from(TYPES), json_values, st.binary(), st.lists(st.binary()))
def test_an_arbitrary_message_is_a_value_or_an_error(hint, structure, text, blobs):
    try:
        value = unpacked(Parcel(structure, text, blobs), hint)
    except WireError:
        return

    # A value that can be written as `hint` has that type.
    packed(value, hint)


@given(typed_values, st.data())
def test_a_mutated_message_is_a_value_or_an_error(case, data):
    hint, value = case
    message = bytearray(sent(packed(value, hint)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at] = data.draw(st.integers(0, 255))

    try:
        found = unpacked(received(bytes(message)), hint)
    except (WireError, EOFError):
        return

    packed(found, hint)


@given(st.binary(max_size=1000))
@settings(max_examples=200)
def test_arbitrary_bytes_are_a_message_or_an_error(message):
    with contextlib.suppress(WireError, EOFError):
        received(message)


@pytest.mark.parametrize(
    "head",
    [
        (channel.MAX_STRUCTURE_BYTES + 1, 0, 0, 0),
        (0, channel.MAX_TEXT_BYTES + 1, 0, 0),
        (0, 0, channel.MAX_BLOBS + 1, 0),
        (0, 0, 0, 1),
    ],
)
def test_a_message_above_the_limits_is_refused_by_its_head(head):
    with pytest.raises(WireError):
        received(channel._HEAD.pack(*head))


def test_an_announced_length_takes_no_memory():
    head = channel._HEAD.pack(2, 0, 1, 0) + (200 << 20).to_bytes(8, "big") + b"{}"
    tracemalloc.start()

    with pytest.raises(EOFError):
        received(head)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_blobs_above_the_limit_are_refused_by_their_lengths():
    length = (channel.MAX_BLOB_BYTES + 1).to_bytes(8, "big")

    with pytest.raises(WireError, match="in blobs"):
        received(channel._HEAD.pack(2, 0, 1, 0) + length)


@pytest.mark.parametrize("structure", [b"[" * 100_000, b"9" * 10_000, b"{", b"\xff"])
def test_a_structure_that_is_no_json_is_refused(structure):
    with pytest.raises(WireError, match="not JSON"):
        received(channel._HEAD.pack(len(structure), 0, 0, 0) + structure)


def test_unrequested_files_are_discarded(tmp_path):
    ours, theirs = socket.socketpair()
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with ours, theirs, path.open("rb") as file:
        parcel = packed(Descriptor(file.fileno()), Descriptor)
        channel.send(ours.fileno(), parcel, 10)

        with pytest.raises(WireError, match="0 of 1 files"):
            channel.receive(theirs.fileno(), 10)


def test_a_receiver_that_does_not_read_times_out_the_sender():
    ours, theirs = socket.socketpair()

    with ours, theirs, pytest.raises(TimeoutError):
        channel.send(ours.fileno(), packed(bytes(8 << 20), bytes), 0.1)


@dataclass(frozen=True)
class _Checked:
    """A class that validates its fields itself."""

    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("below 0")


def test_a_class_that_rejects_its_fields_is_a_wire_error():
    with pytest.raises(WireError, match="below 0"):
        unpacked(Parcel([-1]), _Checked)


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
def test_a_value_of_another_type_is_not_sent(value, hint):
    with pytest.raises(WireError):
        packed(value, hint)


def test_plain_values_need_no_annotation():
    value = {"a": [1, 2.5, True, None, "text"]}

    assert unpacked(received(sent(packed(value, Any))), Any) == value


def test_a_message_names_no_class_and_no_function():
    parcel = packed(PageContent(html="<p>x</p>"), PageContent)

    assert json.dumps(parcel.structure) == "[[], 8, 0, 0, [], []]"
    assert parcel.text == b"<p>x</p>"
