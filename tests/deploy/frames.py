"""An answer in pieces, as InvokeEndpointWithResponseStream sends it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable


def stream_of(chunks: Iterable[bytes]) -> bytes:
    """One event a chunk."""
    return b"".join(
        _frame({":event-type": "PayloadPart", ":message-type": "event"}, chunk)
        for chunk in chunks
    )


def broken_stream(chunks: Iterable[bytes], message: str) -> bytes:
    """Events, and then the container dies."""
    headers = {":exception-type": "ModelStreamError", ":message-type": "exception"}
    body = b'{"Message": "%s", "ErrorCode": "ModelInvocationTimeExceeded"}'
    return stream_of(chunks) + _frame(headers, body % message.encode())


def _frame(headers: dict[str, str], payload: bytes) -> bytes:
    head = b"".join(
        bytes([len(name)])
        + name.encode()
        + b"\x07"
        + struct.pack(">H", len(value))
        + value.encode()
        for name, value in headers.items()
    )
    start = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    start += struct.pack(">I", zlib.crc32(start))
    content = start + head + payload
    return content + struct.pack(">I", zlib.crc32(content))
