"""Requests and answers as AWS's protocols carry them."""

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
    "Answer",
    "Body",
    "Refusal",
    "Request",
    "error_frame",
    "json_answer",
    "payload_frame",
]

BLOCK_BYTES = 256 * 1024
EVENT_STREAM = "application/vnd.amazon.eventstream"
"""Content type of a streamed answer.

A frame is its length, the length of its headers, the CRC-32 of both, the headers, the
payload, and the CRC-32 of everything before. Numbers are 32 bits, high byte first.
"""
_STRING = b"\x07"
_CREDENTIAL = re.compile(r"Credential=([^,\s]+)")


class Readable(Protocol):
    """What bytes come from."""

    def read(self, size: int, /) -> bytes: ...
    def readline(self) -> bytes: ...


class Body:
    """What follows a request's headers, read at most once: so many bytes, or chunks."""

    def __init__(self, stream: Readable, length: int | None) -> None:
        """`length` None: chunked."""
        self._stream = stream
        self.length = length
        self._left = length
        self._is_over = length == 0

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(BLOCK_BYTES):
            yield block

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, or all; b"" at the end."""
        if size < 0:
            return b"".join(self)
        if self._is_over:
            return b""
        if self.length is not None:
            assert self._left is not None
            block = self._stream.read(min(size, self._left))
            self._left -= len(block)
            self._is_over = self._left == 0 or not block
            return block
        if not self._left:
            self._left = int(self._stream.readline().split(b";")[0] or b"0", 16)
            if self._left == 0:
                while self._stream.readline().strip():
                    pass
                self._is_over = True
                return b""
        block = self._stream.read(min(size, self._left))
        self._left -= len(block)
        if self._left == 0:
            self._stream.readline()
        return block

    def read_at_most(self, limit: int) -> bytes | None:
        """All of it; None, and nothing kept, where it is more than `limit` bytes."""
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
        """Read to its end: who still sends does not listen for an answer."""
        for _ in self:
            pass


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: str
    target: str
    """The path and the query, as they came."""
    headers: tuple[tuple[str, str], ...]
    body: Body

    def header(self, name: str) -> str | None:
        wanted = name.lower()
        return next((v for n, v in self.headers if n.lower() == wanted), None)

    @property
    def path(self) -> str:
        return unquote(self.target.partition("?")[0])

    @property
    def scope(self) -> tuple[str | None, str | None]:
        """Region and service that it is signed for; None where it is not signed."""
        found = _CREDENTIAL.search(self.header("Authorization") or "")
        text = found[1] if found else None
        if text is None:
            query = parse_qs(self.target.partition("?")[2])
            text = query.get("X-Amz-Credential", [""])[0]
        parts = text.split("/")
        return (parts[2], parts[3]) if len(parts) > 4 else (None, None)

    @property
    def operation(self) -> str | None:
        """What a call of a JSON protocol asks for: `SageMaker.CreateTransformJob`."""
        return self.header("X-Amz-Target")


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; a body in pieces is sent as it comes."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | Iterator[bytes] = b""


@dataclass
class Refusal(Exception):  # noqa: N818 - it is an answer
    """What AWS says no with; `details` are fields beside the message."""

    code: str
    message: str
    status: int = 400
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_rest(self) -> Answer:
        """As the runtime's protocol has it."""
        body = {"Message": self.message, **self.details}
        return Answer(
            self.status,
            (("Content-Type", "application/json"), ("x-amzn-ErrorType", self.code)),
            json.dumps(body).encode(),
        )

    def as_json(self) -> Answer:
        """As the control plane's protocol has it."""
        return json_answer({"__type": self.code, "message": self.message}, self.status)


def json_answer(content: Mapping[str, Any], status: int = 200) -> Answer:
    """Of the control plane; times are seconds since 1970."""
    return Answer(
        status,
        (("Content-Type", "application/x-amz-json-1.1"),),
        json.dumps(content).encode(),
    )


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
