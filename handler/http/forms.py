"""Parser of multipart forms (RFC 7578), as browsers and `curl -F` send them."""

from __future__ import annotations

from email.message import Message
from email.parser import BytesHeaderParser

from handler.errors import RequestError

__all__ = ["parse_form"]

MAX_PARTS = 32
"""Limit for the parts of a form; a document and its options are fewer than ten."""
MAX_HEAD_BYTES = 8192
_STEP_BYTES = 1024 * 1024


def parse_form(body: bytes | bytearray, content_type: str) -> dict[str, memoryview]:
    """Return the parts of a form by name, as views of `body`.

    `content_type` is the header that contains the boundary. Raises RequestError if the
    body is not a form, has more than `MAX_PARTS` parts, or has two of the same name.
    """
    view = memoryview(body)
    delimiter = b"--" + _parse_boundary(content_type)
    parts: dict[str, memoryview] = {}
    position = (
        0 if body.startswith(delimiter) else _find(body, b"\r\n" + delimiter, 0) + 2
    )
    while True:
        position += len(delimiter)
        if body[position : position + 2] == b"--":
            return parts
        if len(parts) == MAX_PARTS:
            raise RequestError(f"the form has more than {MAX_PARTS} parts")
        # In a part without a head, the two line breaks follow each other.
        head_at = _find(body, b"\r\n", position)
        head_end = body.find(b"\r\n\r\n", head_at, head_at + MAX_HEAD_BYTES)
        if head_end < 0:
            raise RequestError(
                f"a part of the form has no headers, or more than {MAX_HEAD_BYTES:,} "
                "bytes of them"
            )
        name = _parse_name(bytes(body[head_at + 2 : head_end]))
        if name in parts:
            raise RequestError("two parts of the form have the same name")
        start = head_end + 4
        # In an empty part, the line break after the head is the only one.
        end = _find(body, b"\r\n" + delimiter, start - 2)
        parts[name] = view[start : max(start, end)]
        position = end + 2


def _find(body: bytes | bytearray, sought: bytes, start: int) -> int:
    """Return the position of `sought` from `start`, or raise RequestError."""
    # Search in steps, because one step holds the interpreter lock.
    for step in range(start, len(body), _STEP_BYTES):
        position = body.find(sought, step, step + _STEP_BYTES + len(sought) - 1)
        if position >= 0:
            return position
    raise RequestError(
        "the form ends early, or its boundary differs from that in Content-Type"
    )


def _parse_boundary(content_type: str) -> bytes:
    """Return the boundary in a Content-Type; raise RequestError without one."""
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary()
    if not boundary or not boundary.isascii():
        raise RequestError("the form has no boundary in its Content-Type")
    return boundary.encode()


def _parse_name(head: bytes) -> str:
    """Return the name in the headers of a part; raise RequestError without a name."""
    message = BytesHeaderParser().parsebytes(head)
    name = message.get_param("name", header="content-disposition")
    if message.get_content_disposition() != "form-data" or not name:
        raise RequestError("a part of the form has no name")
    # A name encoded as in RFC 2231 is a tuple of character set, language and text.
    return name if isinstance(name, str) else name[2]
