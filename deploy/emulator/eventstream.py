"""Frames of `application/vnd.amazon.eventstream`, which carry a streamed answer.

A frame is its length, the length of its headers, the CRC-32 of both, the headers, the
payload, and the CRC-32 of everything before. Numbers are 32 bits, high byte first.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping

__all__ = ["CONTENT_TYPE", "error_frame", "payload_frame"]

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = b"\x07"


def payload_frame(chunk: bytes) -> bytes:
    """A piece of the container's answer."""
    return _frame(
        {
            ":event-type": "PayloadPart",
            ":content-type": "application/octet-stream",
            ":message-type": "event",
        },
        chunk,
    )


def error_frame(kind: str, message: str, **details: str) -> bytes:
    """The end of an answer that cannot be ended well, such as ModelStreamError."""
    return _frame(
        {
            ":exception-type": kind,
            ":content-type": "application/json",
            ":message-type": "exception",
        },
        json.dumps({"Message": message, **details}).encode(),
    )


def _frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    head = b"".join(
        bytes([len(name)])
        + name.encode()
        + _STRING
        + struct.pack(">H", len(value.encode()))
        + value.encode()
        for name, value in headers.items()
    )
    start = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    start += struct.pack(">I", zlib.crc32(start))
    content = start + head + payload
    return content + struct.pack(">I", zlib.crc32(content))
