"""Decompression of gzip data, with a limit for the size of the result."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from handler.errors import (
    DocumentTooLargeError,
    RequestError,
    UnsupportedMediaTypeError,
)

__all__ = ["GZIP_MAGIC", "MAX_MEMBERS", "gunzip", "is_gzip", "is_gzip_encoding"]

GZIP_MAGIC = b"\x1f\x8b\x08"
"""First bytes of gzip data (RFC 1952); no supported document begins with them."""
MAX_MEMBERS = 10_000
"""Limit for the members of gzip data; bgzip writes one for each 64 KiB."""

_GZIP_NAMES = ("gzip", "x-gzip")
_WITH_HEADER = zlib.MAX_WBITS | 16
_INPUT_BYTES = 16 * 1024
"""Input of one step. It is small, because each gzip member that ends within a step
copies the rest of the input."""
_OUTPUT_BYTES = 1024 * 1024


def is_gzip(head: bytes | bytearray | memoryview) -> bool:
    """Return whether `head` begins like gzip data."""
    return bytes(head[: len(GZIP_MAGIC)]) == GZIP_MAGIC


def is_gzip_encoding(content_encoding: str | None, ignored: Iterable[str] = ()) -> bool:
    """Return whether a Content-Encoding header names gzip.

    `identity` and the names in `ignored` are skipped. Raises UnsupportedMediaTypeError
    for any other coding, and for more than one.
    """
    names = [name.strip().lower() for name in (content_encoding or "").split(",")]
    codings = [name for name in names if name not in ("", "identity", *ignored)]
    if not codings:
        return False
    if len(codings) > 1 or codings[0] not in _GZIP_NAMES:
        shown = "".join(c for c in ", ".join(codings)[:60] if " " <= c <= "~")
        raise UnsupportedMediaTypeError(
            f"the content encoding {shown} is not supported: compress the document "
            "once with gzip, or not at all"
        )
    return True


def gunzip(
    pieces: Iterable[bytes | bytearray | memoryview], subject: str, max_bytes: int
) -> Iterator[bytes]:
    """Decompress gzip data in pieces; yield at most 1 MiB at a time.

    `subject` names the data in errors. Raises DocumentTooLargeError as soon as the
    result exceeds `max_bytes`, and RequestError if the data are damaged, truncated or
    have more than `MAX_MEMBERS` members.
    """
    num_left = max_bytes
    num_members = 1
    member = zlib.decompressobj(_WITH_HEADER)
    has_member_ended = False
    for piece in _split_input(pieces):
        rest: bytes = bytes(piece)
        while rest:
            if has_member_ended and not (rest := rest.lstrip(b"\0")):
                break  # some tools pad the last block with zeros
            if has_member_ended:
                num_members += 1
                if num_members > MAX_MEMBERS:
                    raise RequestError(
                        f"{subject} consists of more than {MAX_MEMBERS:,} gzip members"
                    )
                member, has_member_ended = zlib.decompressobj(_WITH_HEADER), False
            try:
                content = member.decompress(rest, min(_OUTPUT_BYTES, num_left + 1))
            except zlib.error as error:
                raise RequestError(f"{subject} is damaged gzip data") from error
            num_left -= len(content)
            if num_left < 0:
                raise DocumentTooLargeError(
                    f"{subject} exceeds the limit of {max_bytes:,} bytes once it is "
                    "decompressed"
                )
            if content:
                yield content
            has_member_ended = member.eof
            rest = member.unused_data if has_member_ended else member.unconsumed_tail
    if not has_member_ended:
        raise RequestError(f"{subject} is truncated gzip data")


def _split_input(
    pieces: Iterable[bytes | bytearray | memoryview],
) -> Iterator[memoryview]:
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), _INPUT_BYTES):
            yield view[start : start + _INPUT_BYTES]
