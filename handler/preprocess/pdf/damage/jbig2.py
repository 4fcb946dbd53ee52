"""Validation of JBIG2 data.

pdfium renders a white image for most data that are not JBIG2. The format is a sequence
of segments, each with its length in a header; see ITU-T T.88, 7.2.
"""

from __future__ import annotations

import struct

__all__ = ["has_jbig2_page"]

_PAGE_INFORMATION, _END_OF_PAGE, _END_OF_FILE = 48, 49, 51
_GENERIC_REGION = 38
_SEGMENT_TYPES = frozenset(
    (0, 4, 6, 7, 16, 20, 22, 23, 36, 38, 39, 40, 42, 43, 48, 49, 50, 51, 52, 53, 62)
)
_UNKNOWN_LENGTH = 0xFFFFFFFF
_MAX_SEGMENTS = 100_000


def has_jbig2_page(data: bytes) -> bool:
    """Return True if JBIG2 data have a page and no truncated or unknown segment.

    Segments are checked up to the end of the page, a segment of unknown length, or the
    end of the data. Padding after the last segment is allowed.
    """
    has_page = False
    start = 0
    for _ in range(_MAX_SEGMENTS):
        try:
            kind, first, length = _parse_segment_header(data, start)
        except struct.error:
            # The rest is shorter than a segment header, so the last segment has ended.
            break
        if kind not in _SEGMENT_TYPES:
            # Zeros and line ends may follow the last segment as padding.
            return has_page and not data[start:].strip(b"\0\r\n")
        has_page = has_page or kind == _PAGE_INFORMATION
        if kind == _GENERIC_REGION and length == _UNKNOWN_LENGTH:
            break
        start = first + length
        if start > len(data):
            return False
        if kind in (_END_OF_PAGE, _END_OF_FILE):
            break
    return has_page


def _parse_segment_header(data: bytes, start: int) -> tuple[int, int, int]:
    """Return the type of a segment, the offset of its data and their length.

    Raises struct.error for a header that ends early.
    """
    number, flags, count = struct.unpack_from(">LBB", data, start)
    offset = start + 5
    num_referred = count >> 5
    if num_referred == 7:
        num_referred = struct.unpack_from(">L", data, offset)[0] & 0x1FFFFFFF
        offset += 4 + (num_referred + 8) // 8
    else:
        offset += 1
    offset += num_referred * (1 if number <= 256 else 2 if number <= 65_536 else 4)
    offset += 4 if flags & 0x40 else 1
    [length] = struct.unpack_from(">L", data, offset)
    return flags & 0x3F, offset + 4, length
