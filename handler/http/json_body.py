"""Parser of JSON bodies that reads one member at a time, in constant memory.

For hostile text, `json.loads` builds objects of up to 45 times its size, and holds the
interpreter lock meanwhile. Here `json` parses each member separately. A member is at
most `MAX_OPTION_BYTES` long, except for the document, which is not copied: its text is
read from the body in pieces.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from handler.errors import InvalidOptionError, RequestError
from handler.http.options import MAX_OPTION_BYTES, option_too_long_error

__all__ = ["MAX_MEMBERS", "LongText", "parse_members"]

Body = bytes | bytearray

MAX_MEMBERS = 64
MAX_TRANSCODED_BYTES = 1024 * 1024
"""Limit for bodies in UTF-16 and UTF-32, which are converted to UTF-8 in memory."""

_STEP_BYTES = 256 * 1024
"""A step takes about a millisecond; other threads may run between two steps."""
_LONGEST_TOKEN = 16
"""Upper bound in bytes for a token such as `-Infinity` or an escape."""
_SPACE = re.compile(rb"[ \t\n\r]*+")
_CONTROL = bytes(range(0x20))
_parse_value = json.JSONDecoder().raw_decode


@dataclass(frozen=True, slots=True)
class LongText:
    """String in a body that is too long to be an option, such as a document."""

    _body: Body = field(repr=False)
    _start: int

    def pieces(self) -> Iterator[str]:
        """Yield the text in pieces of at most 256 KiB as written.

        A surrogate pair that is written as two escapes may be split between pieces.
        """
        for text, _ in _pieces(self._body, self._start):
            yield text


def parse_members(body: Body, long_names: Collection[str]) -> dict[str, Any]:
    """Return the members of the JSON object in `body`; the last of equal names counts.

    A string above `MAX_OPTION_BYTES` under one of `long_names` becomes a LongText.
    Raises ValueError or RecursionError for invalid JSON, as `json.loads` does. Raises
    RequestError if the body is not an object or has more than `MAX_MEMBERS` members,
    and InvalidOptionError if another member exceeds `MAX_OPTION_BYTES`.
    """
    body, at = _as_utf8(body)
    at = _skip_space(body, at)
    if body[at : at + 1] != b"{":
        _raise_not_object(body, at)
    members: dict[str, Any] = {}
    at = _skip_space(body, at + 1)
    if body[at : at + 1] != b"}":
        for _ in range(MAX_MEMBERS):
            name, at = _read_name(body, at)
            if name in long_names and body[at : at + 1] == b'"':
                members[name], at = _read_text(body, at, name)
            else:
                members[name], at = _read_member(body, at, name, long_names)
            at = _skip_space(body, at)
            if body[at : at + 1] == b"}":
                break
            at = _skip_space(body, _skip(b",", body, at))
        else:
            raise RequestError(f"the JSON body has more than {MAX_MEMBERS} members")
    if _skip_space(body, at + 1) != len(body):
        raise ValueError("the body continues after the object")
    return members


def _as_utf8(body: Body) -> tuple[Body, int]:
    """Return the body as UTF-8, and the position at which its text begins."""
    encoding = json.detect_encoding(body)
    if encoding == "utf-8":
        return body, 0
    if encoding == "utf-8-sig":
        return body, 3
    if len(body) > MAX_TRANSCODED_BYTES:
        raise RequestError(
            f"a JSON body above {MAX_TRANSCODED_BYTES:,} bytes must be UTF-8, "
            f"not {encoding.upper()}"
        )
    text = body.decode(encoding, "surrogatepass")
    return text.encode("utf-8", "surrogatepass"), 0


def _raise_not_object(body: Body, at: int) -> NoReturn:
    """Raise the error for a body whose first value, at `at`, is not an object.

    Raises ValueError if the body is invalid JSON or too long to be parsed, else
    RequestError.
    """
    if len(body) - at <= MAX_OPTION_BYTES:
        json.loads(body[at:].decode("utf-8", "surrogatepass"))
        raise RequestError("the JSON body must be an object with a document in it")
    raise ValueError("a long body does not begin with an object")


def _read_member(
    body: Body, at: int, name: str, long_names: Collection[str]
) -> tuple[Any, int]:
    """Return the value at `at` and its end.

    Raises InvalidOptionError if it exceeds `MAX_OPTION_BYTES`, or RequestError if
    `name` is one of `long_names`, under which only a string may be long.
    """
    try:
        return _read_value(body, at, name)
    except InvalidOptionError as error:
        if name not in long_names:
            raise
        # For example, {"type": "image_url", "image_url": "data:..."} of other services.
        raise RequestError(f"{name} must be a base64 string") from error


def _read_name(body: Body, at: int) -> tuple[str, int]:
    """Return the name at `at`, and the position at which its value begins."""
    if body[at : at + 1] != b'"':
        raise ValueError("a member does not begin with its name")
    name, at = _read_value(body, at, None)
    return name, _skip_space(body, _skip(b":", body, _skip_space(body, at)))


def _read_text(body: Body, at: int, name: str) -> tuple[Any, int]:
    """Return the string whose opening quote is at `at`, and its end."""
    start = at + 1
    end = max((end for _, end in _pieces(body, start)), default=start)
    if end - start > MAX_OPTION_BYTES - 2:
        return LongText(body, start), end + 1
    return _read_value(body, at, name)


def _pieces(body: Body, at: int) -> Iterator[tuple[str, int]]:
    """Yield the pieces of a string's text up to its closing quote, with their ends."""
    while body[at : at + 1] != b'"':
        text, at = _read_piece(body, at)
        yield text, at


def _read_piece(body: Body, at: int) -> tuple[str, int]:
    """Return the piece of a string's text that begins at `at`, and its end.

    A piece has at most one step, and ends before the closing quote. Raises
    ValueError if the string is invalid or not terminated.
    """
    raw = body[at : at + _STEP_BYTES]
    has_escapes = b"\\" in raw
    masked = raw
    if has_escapes:
        # After masking, a quote ends the string, and a backslash begins an escape.
        masked = raw.replace(rb"\\", b"__").replace(rb"\"", b"__")
    end = masked.find(b'"')
    if end < 0:
        # Cut between two characters, but not within an escape of up to six bytes.
        cut = masked.rfind(b"\\", max(0, len(raw) - 5))
        end = cut if cut >= 0 else _character_start(body, at + len(raw)) - at
    if end <= 0:
        raise ValueError("a string is not terminated")
    text = raw[:end].decode("utf-8", "surrogatepass")
    if has_escapes:
        return json.loads(f'"{text}"'), at + end
    if len(raw[:end].translate(None, _CONTROL)) < end:
        raise ValueError("a string has an unescaped control character")
    return text, at + end


def _read_value(body: Body, at: int, name: str | None) -> tuple[Any, int]:
    """Return the value at `at` and its end; `name` is None if the value is a name.

    Raises ValueError for invalid JSON, and InvalidOptionError for a value above
    `MAX_OPTION_BYTES`.
    """
    most = min(at + MAX_OPTION_BYTES + _LONGEST_TOKEN, len(body))
    end = _character_start(body, most)
    text = body[at:end].decode("utf-8", "surrogatepass")
    try:
        value, num_characters = _parse_value(text)
    except json.JSONDecodeError as error:
        is_cut = end < len(body) and error.msg.startswith("Unterminated string")
        if is_cut or _num_bytes(text[: error.pos]) >= MAX_OPTION_BYTES:
            raise _too_long_error(name) from error
        raise
    num_bytes = _num_bytes(text[:num_characters])
    if num_bytes > MAX_OPTION_BYTES:
        raise _too_long_error(name)
    return value, at + num_bytes


def _num_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _too_long_error(name: str | None) -> RequestError:
    """Return the error for a too long value, or for a name if `name` is None."""
    if name is not None:
        return option_too_long_error(name)
    return InvalidOptionError(
        f"the name of an option has more than {MAX_OPTION_BYTES:,} bytes"
    )


def _character_start(body: Body, at: int) -> int:
    """Return the start of the UTF-8 character that contains the position `at`."""
    for start in range(at, max(at - 4, 0), -1):
        if start == len(body) or body[start] & 0xC0 != 0x80:
            return start
    return at


def _skip(byte: bytes, body: Body, at: int) -> int:
    """Return the position after `byte`; raise ValueError if it is not at `at`."""
    if body[at : at + 1] != byte:
        raise ValueError(f"expected {byte.decode()}")
    return at + 1


def _skip_space(body: Body, at: int) -> int:
    """Return the position of the first byte from `at` that is not whitespace."""
    while match := _SPACE.match(body, at, at + _STEP_BYTES):
        if match.end() < at + _STEP_BYTES:
            return match.end()
        at = match.end()
    raise AssertionError
