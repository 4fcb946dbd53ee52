"""Find the frames of a TIFF, and show one of them as if it were the only one.

Pillow reaches frame 900 by parsing the 899 before it and fails where one of them
is broken. Following the chain ourselves costs a microsecond a frame and a bad
frame fails alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from mmap import mmap

from handler.errors import DocumentTooLargeError, UnreadableDocumentError

__all__ = ["count_frames", "show_frame"]

MAX_FRAMES = 10_000


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the links of the chain are, in TIFF and in BigTIFF."""

    first_link: int
    link: struct.Struct
    num_entries: struct.Struct
    entry_bytes: int


def _layout(data: mmap) -> _Layout:
    order = "<" if data[:1] == b"I" else ">"
    if b"+" in data[2:4]:
        return _Layout(8, struct.Struct(order + "Q"), struct.Struct(order + "Q"), 20)
    return _Layout(4, struct.Struct(order + "I"), struct.Struct(order + "H"), 12)


def _offsets(data: mmap) -> Iterator[int]:
    """Where each frame's directory is. The chain may be cut, or bite its own tail."""
    layout = _layout(data)
    seen: set[int] = set()
    link = layout.first_link
    while link + layout.link.size <= len(data):
        (offset,) = layout.link.unpack_from(data, link)
        if offset == 0 or offset in seen:
            return
        seen.add(offset)
        # Also where nothing is any more: a page that was cut off is a page that
        # fails, not one that never was.
        yield offset
        if offset + layout.num_entries.size > len(data):
            return
        (num_entries,) = layout.num_entries.unpack_from(data, offset)
        link = offset + layout.num_entries.size + num_entries * layout.entry_bytes


def count_frames(data: mmap) -> int:
    num_frames = sum(1 for _ in islice(_offsets(data), MAX_FRAMES + 1))
    if num_frames == 0:
        raise UnreadableDocumentError("the TIFF ends before its first page")
    if num_frames > MAX_FRAMES:
        raise DocumentTooLargeError(
            f"the TIFF has more than {MAX_FRAMES} pages; split it into smaller files"
        )
    return num_frames


def show_frame(data: mmap, number: int) -> None:
    """Make frame `number`, counted from 1, the first one of this private mapping."""
    offset = next(islice(_offsets(data), number - 1, None), None)
    if offset is None:
        raise UnreadableDocumentError(f"the TIFF has no page {number}")
    layout = _layout(data)
    layout.link.pack_into(data, layout.first_link, offset)
