"""Transfer of messages over a socket, with limits on size and time.

A message consists of a header with four lengths, the length of each blob, the structure
as JSON, the text and the blobs. File descriptors are sent with the header. The receiver
allocates memory as bytes arrive, because it does not trust an announced length.
"""

from __future__ import annotations

import io
import json
import math
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from handler.sandbox.wire import Message, WireError

__all__ = ["has_unread_bytes", "receive", "send"]

MAX_STRUCTURE_BYTES = 2 << 20
"""Limit for the JSON. It is low because parsed JSON takes up to 25 times its length in
memory."""
MAX_TEXT_BYTES = 32 << 20
MAX_BLOBS = 10_000
MAX_BLOB_BYTES = 256 << 20
"""Limit for all blobs of a message. The largest page has 16 million pixels, 48 MiB."""
MAX_DESCRIPTORS = 4

_HEAD = struct.Struct("!IIII")
_CHUNK_BYTES = 1 << 20


@contextmanager
def _socket_at(descriptor: int) -> Iterator[socket.socket]:
    """Yield a socket object for `descriptor`, which stays open afterwards."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=descriptor)
    try:
        yield channel
    finally:
        channel.detach()


def has_unread_bytes(descriptor: int) -> bool:
    """Return whether bytes have arrived or the other side has closed the socket."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))


def send(descriptor: int, message: Message, seconds: float = math.inf) -> None:
    """Send a message within `seconds`.

    Raises WireError for a message above the limits, before any byte is sent, OSError if
    the other side has closed the socket, and TimeoutError if it does not read.
    """
    structure = json.dumps(message.structure, separators=(",", ":")).encode()
    lengths = [len(blob) for blob in message.blobs]
    _check_limits(len(structure), len(message.text), len(lengths))
    _check_blobs(lengths)
    head = _HEAD.pack(
        len(structure), len(message.text), len(lengths), len(message.descriptors)
    )
    start = head + struct.pack(f"!{len(lengths)}Q", *lengths) + structure + message.text
    end = time.monotonic() + seconds
    with _socket_at(descriptor) as channel:
        descriptors = message.descriptors
        for part in (start, *message.blobs):
            view = memoryview(part)
            while view:
                _wait(channel, select.POLLOUT, end)
                try:
                    num_sent = _send_some(channel, view, descriptors)
                except BlockingIOError:
                    continue
                view, descriptors = view[num_sent:], []


def _send_some(channel: socket.socket, view: memoryview, descriptors: list[int]) -> int:
    """Send the beginning of `view`, with the descriptors, and return its length.

    Raises BlockingIOError if nothing can be sent now.
    """
    if descriptors:
        return socket.send_fds(channel, [view], descriptors, socket.MSG_DONTWAIT)
    return channel.send(view, socket.MSG_DONTWAIT)


def receive(
    descriptor: int, seconds: float = math.inf, *, may_bring_files: bool = False
) -> Message:
    """Receive a message within `seconds`, and its files with `may_bring_files`.

    Raises WireError for an invalid message, EOFError or OSError if the other side has
    closed the socket, and TimeoutError. The caller closes the received descriptors.
    """
    end = time.monotonic() + seconds
    descriptors: list[int] = []
    with _socket_at(descriptor) as channel:
        try:
            head = _receive_head(channel, end, descriptors if may_bring_files else None)
            structure_bytes, text_bytes, num_blobs, num_descriptors = _HEAD.unpack(head)
            _check_limits(structure_bytes, text_bytes, num_blobs)
            if num_descriptors != len(descriptors):
                raise WireError(
                    f"received {len(descriptors)} of {num_descriptors} files"
                )
            packed = _receive(channel, 8 * num_blobs, end)
            lengths = struct.unpack(f"!{num_blobs}Q", packed)
            _check_blobs(lengths)
            structure = _parse(_receive(channel, structure_bytes, end))
            text = _receive(channel, text_bytes, end)
            blobs = [_receive(channel, length, end) for length in lengths]
        except BaseException:
            for opened in descriptors:
                os.close(opened)
            raise
    return Message(structure, text, blobs, descriptors)


def _receive_head(
    channel: socket.socket, end: float, descriptors: list[int] | None
) -> bytes:
    """Receive the header, and add its file descriptors to `descriptors`.

    `descriptors` is None if the message may not bring files.
    """
    _wait(channel, select.POLLIN, end)
    if descriptors is None:
        # A plain read discards files that the other side attaches.
        return _receive(channel, _HEAD.size, end)
    start, received, _, _ = socket.recv_fds(channel, _HEAD.size, MAX_DESCRIPTORS)
    descriptors.extend(received)
    if not start:
        raise EOFError
    return start + _receive(channel, _HEAD.size - len(start), end)


def _receive(channel: socket.socket, length: int, end: float) -> bytes:
    """Receive exactly `length` bytes until the time `end`.

    Raises EOFError if the other side has closed the socket, and TimeoutError.
    """
    buffer = io.BytesIO()
    while length:
        _wait(channel, select.POLLIN, end)
        chunk = channel.recv(min(length, _CHUNK_BYTES))
        if not chunk:
            raise EOFError
        length -= buffer.write(chunk)
    return buffer.getvalue()


def _parse(structure: bytes) -> Any:
    try:
        return json.loads(structure)
    except (ValueError, RecursionError) as error:
        raise WireError("the structure is not JSON") from error


def _check_limits(structure_bytes: int, text_bytes: int, num_blobs: int) -> None:
    """Raise WireError if a message exceeds one of the limits."""
    for name, number, limit in (
        ("bytes of structure", structure_bytes, MAX_STRUCTURE_BYTES),
        ("bytes of text", text_bytes, MAX_TEXT_BYTES),
        ("blobs", num_blobs, MAX_BLOBS),
    ):
        if number > limit:
            raise WireError(
                f"the message has {number:,} {name}; the limit is {limit:,}"
            )


def _check_blobs(lengths: Any) -> None:
    if sum(lengths) > MAX_BLOB_BYTES:
        raise WireError(f"the message has more than {MAX_BLOB_BYTES:,} bytes in blobs")


def _wait(channel: socket.socket, event: int, end: float) -> None:
    """Wait until the socket is ready; raise TimeoutError at the time `end`."""
    left = end - time.monotonic()
    timeout = None if left == math.inf else max(0.0, 1000 * left)
    poller = select.poll()
    poller.register(channel, event)
    if not poller.poll(timeout):
        raise TimeoutError("the other side is too slow")
