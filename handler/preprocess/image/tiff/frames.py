"""Access to the frames of a TIFF without parsing the frames before them.

Pillow reaches frame 900 by parsing the 899 frames before it, and it fails if one of
them is damaged. Following the chain of directories costs a microsecond per frame, and a
damaged frame fails alone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from mmap import mmap

from handler.errors import DocumentTooLargeError, UnreadableDocumentError

__all__ = ["count_pages", "has_values_beyond_end", "set_first_page"]

MAX_FRAMES = 10_000

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 254, 255
_REDUCED, _MASK = 1, 4
_OLD_REDUCED = 2
_SHORT = 3
_VALUE_BYTES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1))
_VALUE_BYTES |= {16: 8, 17: 8, 18: 8}
"""Size in bytes of a value by its TIFF type."""
# Entries should be sorted by tag, but some writers do not sort them. Directories have
# 10 to 30 entries, so the type of a frame is among the first of them.
_MAX_TYPE_ENTRIES = 64


@dataclass(frozen=True, slots=True)
class _ChainLayout:
    """Offsets and formats of the chain of directories, in TIFF or in BigTIFF."""

    first_link: int
    link: struct.Struct
    num_entries: struct.Struct
    entry_bytes: int
    tag: struct.Struct
    short: struct.Struct
    long: struct.Struct


def _detect_chain_layout(data: mmap | bytes) -> _ChainLayout:
    """Return the layout for the byte order and the version of the file."""
    order = "<" if data[:1] == b"I" else ">"
    is_big = b"+" in data[2:4]
    return _ChainLayout(
        first_link=8 if is_big else 4,
        link=struct.Struct(order + ("Q" if is_big else "I")),
        num_entries=struct.Struct(order + ("Q" if is_big else "H")),
        entry_bytes=20 if is_big else 12,
        tag=struct.Struct(order + "HH"),
        short=struct.Struct(order + "H"),
        long=struct.Struct(order + "I"),
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    """The offset of a frame's directory, and the frame's subfile type."""

    offset: int
    is_reduced: bool = False
    """True for a thumbnail or an overview of another frame."""
    is_mask: bool = False


def _iter_frames(data: mmap) -> Iterator[_Frame]:
    """Yield the frames in the order of the chain.

    The chain may be truncated, and it may have a cycle.
    """
    layout = _detect_chain_layout(data)
    seen: set[int] = set()
    link = layout.first_link
    while link + layout.link.size <= len(data):
        (offset,) = layout.link.unpack_from(data, link)
        if offset == 0 or offset in seen:
            return
        seen.add(offset)
        # A frame beyond the end of the file is a page that was cut off. It is counted,
        # and it fails when it is decoded.
        if offset + layout.num_entries.size > len(data):
            yield _Frame(offset)
            return
        (num_entries,) = layout.num_entries.unpack_from(data, offset)
        entries = offset + layout.num_entries.size
        yield _read_frame(data, layout, offset, entries, num_entries)
        link = entries + num_entries * layout.entry_bytes


def _read_frame(
    data: mmap, layout: _ChainLayout, offset: int, entries: int, num_entries: int
) -> _Frame:
    """Read a frame's subfile type from its directory."""
    new_type = old_type = 0
    for entry in range(min(num_entries, _MAX_TYPE_ENTRIES)):
        place = entries + entry * layout.entry_bytes
        if place + layout.entry_bytes > len(data):
            break
        tag, kind = layout.tag.unpack_from(data, place)
        # The value follows the tag, the type and the number of values.
        place += layout.entry_bytes - layout.link.size
        value = layout.short if kind == _SHORT else layout.long
        if tag == _NEW_SUBFILE_TYPE:
            (new_type,) = value.unpack_from(data, place)
        elif tag == _SUBFILE_TYPE:
            (old_type,) = value.unpack_from(data, place)
    return _Frame(
        offset,
        is_reduced=bool(new_type & _REDUCED) or old_type == _OLD_REDUCED,
        is_mask=bool(new_type & _MASK),
    )


def _read_first_frames(data: mmap) -> list[_Frame]:
    """Return the frames of a file, up to one more than MAX_FRAMES."""
    return list(islice(_iter_frames(data), MAX_FRAMES + 1))


def _select_pages(frames: list[_Frame]) -> list[_Frame]:
    """Return the frames that are pages.

    Thumbnails, overviews and masks are not pages. If a file has no other frames, its
    writer misused the tag: the frames that are not masks are pages then, or the masks
    if there is nothing else.
    """
    pages = [frame for frame in frames if not (frame.is_reduced or frame.is_mask)]
    return pages or [frame for frame in frames if not frame.is_mask] or frames


def count_pages(data: mmap) -> int:
    """Return the number of pages: frames that are not thumbnails or masks.

    Raises UnreadableDocumentError if there is no frame, and DocumentTooLargeError for
    too many frames.
    """
    frames = _read_first_frames(data)
    if not frames:
        raise UnreadableDocumentError("the TIFF ends before its first page")
    if len(frames) > MAX_FRAMES:
        raise DocumentTooLargeError(
            f"the TIFF has more than {MAX_FRAMES} pages; split it into smaller files"
        )
    return len(_select_pages(frames))


def set_first_page(data: mmap, number: int) -> None:
    """Make page `number`, counted from 1, the first frame that decoders find in `data`.

    Overwrites the offset in the header of `data`, a private mapping, so the file on
    disk does not change. Raises UnreadableDocumentError if there is no such page.
    """
    pages = _select_pages(_read_first_frames(data))
    if number > len(pages):
        raise UnreadableDocumentError(f"the TIFF has no page {number}")
    layout = _detect_chain_layout(data)
    layout.link.pack_into(data, layout.first_link, pages[number - 1].offset)


def has_values_beyond_end(data: mmap | bytes) -> bool:
    """Return True if tags of the first frame, or their values, lie beyond the file."""
    layout = _detect_chain_layout(data)
    (offset,) = layout.link.unpack_from(data, layout.first_link)
    entries = offset + layout.num_entries.size
    if entries > len(data):
        return True
    (num_entries,) = layout.num_entries.unpack_from(data, offset)
    if entries + num_entries * layout.entry_bytes > len(data):
        return True
    for entry in range(num_entries):
        place = entries + entry * layout.entry_bytes
        _, kind = layout.tag.unpack_from(data, place)
        (number,) = layout.link.unpack_from(data, place + layout.tag.size)
        num_bytes = number * _VALUE_BYTES.get(kind, 1)
        if num_bytes <= layout.link.size:
            continue
        place += layout.entry_bytes - layout.link.size
        (value,) = layout.link.unpack_from(data, place)
        if value + num_bytes > len(data):
            return True
    return False
