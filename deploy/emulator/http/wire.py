"""Requests, responses and errors of AWS's protocols."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

__all__ = [
    "EVENT_STREAM",
    "Body",
    "Request",
    "Response",
    "ServiceError",
    "build_error_frame",
    "build_json_response",
    "build_payload_frame",
]

BLOCK_BYTES = 256 * 1024
EVENT_STREAM = "application/vnd.amazon.eventstream"
"""Content type of a streamed response.

A frame consists of its length, the length of its headers, the CRC-32 of both, the
headers, the payload, and the CRC-32 of everything before. Numbers have 32 bits in
big-endian order.
"""
_STRING = b"\x07"
_CREDENTIAL = re.compile(r"Credential=([^,\s]+)")


class Readable(Protocol):
    """Stream that a body is read from."""

    def read(self, size: int, /) -> bytes: ...
    def readline(self) -> bytes: ...


class Body:
    """Request body, which can be read once; of known length or chunked."""

    def __init__(self, stream: Readable, length: int | None) -> None:
        """`length` is the number of bytes, or None for a chunked body."""
        self._stream = stream
        self.length = length
        self._remaining = length
        self._is_exhausted = length == 0

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(BLOCK_BYTES):
            yield block

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, or all if negative; b"" at the end.

        A body that is cut short ends without an error. Raises ValueError if the size of
        a chunk is no number.
        """
        if size < 0:
            return b"".join(self)
        if self._is_exhausted:
            return b""
        if self.length is not None:
            assert self._remaining is not None
            block = self._stream.read(min(size, self._remaining))
            self._remaining -= len(block)
            self._is_exhausted = self._remaining == 0 or not block
            return block
        if not self._remaining:
            self._remaining = int(self._stream.readline().split(b";")[0] or b"0", 16)
            if self._remaining == 0:
                while self._stream.readline().strip():
                    pass
                self._is_exhausted = True
                return b""
        block = self._stream.read(min(size, self._remaining))
        self._remaining -= len(block)
        if self._remaining == 0:
            self._stream.readline()
        return block

    def read_at_most(self, limit: int) -> bytes | None:
        """Return the whole body, or None if it has more than `limit` bytes.

        The body is read to its end in both cases.
        """
        if self.length is not None and self.length > limit:
            self.drain()
            return None
        blocks, size = [], 0
        for block in self:
            size += len(block)
            if size <= limit:
                blocks.append(block)
        return b"".join(blocks) if size <= limit else None

    def drain(self) -> None:
        """Read the body to its end, because a client that still sends does not read."""
        for _ in self:
            pass


@dataclass(frozen=True, slots=True)
class Request:
    """HTTP request."""

    method: str
    target: str
    """Path and query, still percent-encoded."""
    headers: tuple[tuple[str, str], ...]
    body: Body

    def get_header(self, name: str) -> str | None:
        """Return the value of a header, ignoring case, or None."""
        lower = name.lower()
        return next((v for n, v in self.headers if n.lower() == lower), None)

    @property
    def path(self) -> str:
        return unquote(self.target.partition("?")[0])

    @property
    def scope(self) -> tuple[str | None, str | None]:
        """Region and service of the signature (Version 4); None if there is none."""
        match = _CREDENTIAL.search(self.get_header("Authorization") or "")
        text = match[1] if match else None
        if text is None:
            query = parse_qs(self.target.partition("?")[2])
            text = query.get("X-Amz-Credential", [""])[0]
        parts = text.split("/")
        return (parts[2], parts[3]) if len(parts) > 4 else (None, None)

    @property
    def operation(self) -> str | None:
        """Operation of a JSON protocol, for example `SageMaker.CreateTransformJob`."""
        return self.get_header("X-Amz-Target")


@dataclass(frozen=True, slots=True)
class Response:
    """HTTP response; a body that is an iterator is sent chunk by chunk."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Iterator[bytes] = b""


@dataclass
class ServiceError(Exception):
    """Error response of an AWS service; `details` are additional fields."""

    code: str
    message: str
    status: int = 400
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_rest(self) -> Response:
        """Return the response in the REST-JSON protocol of the runtime."""
        body = {"Message": self.message, **self.details}
        return Response(
            self.status,
            (("Content-Type", "application/json"), ("x-amzn-ErrorType", self.code)),
            json.dumps(body).encode(),
        )

    def to_json(self) -> Response:
        """Return the response in the JSON protocol of the control plane."""
        return build_json_response(
            {"__type": self.code, "message": self.message}, self.status
        )


def build_json_response(content: Mapping[str, Any], status: int = 200) -> Response:
    """Return a response of the control plane; times are seconds since 1970."""
    return Response(
        status,
        (("Content-Type", "application/x-amz-json-1.1"),),
        json.dumps(content).encode(),
    )


def build_payload_frame(chunk: bytes) -> bytes:
    """Return a frame with a chunk of the container's response."""
    return _build_frame(
        {
            ":event-type": "PayloadPart",
            ":content-type": "application/octet-stream",
            ":message-type": "event",
        },
        chunk,
    )


def build_error_frame(kind: str, message: str, **details: str) -> bytes:
    """Return the last frame of a response that failed, such as ModelStreamError."""
    return _build_frame(
        {
            ":exception-type": kind,
            ":content-type": "application/json",
            ":message-type": "exception",
        },
        json.dumps({"Message": message, **details}).encode(),
    )


def _build_frame(headers: Mapping[str, str], payload: bytes) -> bytes:
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
