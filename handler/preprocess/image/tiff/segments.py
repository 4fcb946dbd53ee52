"""Decompression of a plane of a TIFF frame to rows of bytes, with Pillow's libtiff.

Pillow gives no access to rows of samples that it does not support. It supports 8-bit
gray, and the compressions that are handled here do not depend on the meaning of the
bytes. Predictors do, so they are omitted here and undone later.
"""

from __future__ import annotations

import io
import struct
from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from handler.preprocess.image.tiff.layout import Layout, is_big_tiff

__all__ = ["count_row_bytes", "count_segments_per_plane", "unpack_plane"]

_MAX_EXTRA_COLUMNS = 4096


def count_row_bytes(width: int, num_samples: int, layout: Layout) -> int:
    """Return the bytes of a row of `width` pixels with `num_samples` samples each."""
    return (width * num_samples * layout.bits + 7) // 8


def count_segments_per_plane(layout: Layout) -> int:
    """Return the number of strips or tiles of a plane.

    Raises OSError if their size is missing.
    """
    segments = layout.segments
    if segments.width < 1 or segments.height < 1:
        raise OSError("the size of its tiles or strips is missing")
    across = -(-layout.width // segments.width)
    down = -(-layout.height // segments.height)
    return across * down


def unpack_plane(
    data: mmap | bytes, layout: Layout, num_samples: int, first: int, number: int
) -> NDArray[Any]:
    """Decompress a plane to rows of bytes, by reading it as an 8-bit gray image.

    The plane consists of `number` segments from index `first` on, with `num_samples`
    samples per pixel. A directory for it is appended to a copy of the file, so that the
    offsets of the segments remain valid. Raises OSError if data are missing.
    """
    segments = layout.segments
    offsets = segments.offsets[first : first + number]
    num_bytes = segments.num_bytes[first : first + number]
    if len(offsets) < number:
        raise OSError("the image data end early")
    if layout.compression == 1 and len(num_bytes) < number:
        row = count_row_bytes(segments.width, num_samples, layout)
        num_bytes = (row * segments.height,) * number
    if len(num_bytes) < number:
        raise OSError("the lengths of its tiles or strips are missing")
    _check_segments(offsets, num_bytes, layout, num_samples, len(data))
    width = layout.width
    if layout.predictor == 3 and segments.is_tiled:
        # Predictor 3 spreads the bytes of a sample over the row of its tile, so whole
        # tiles are needed.
        width = -(-width // segments.width) * segments.width
        if width > 2 * layout.width + _MAX_EXTRA_COLUMNS:
            raise OSError("its tiles are far wider than the image")
    tags: dict[int, tuple[int, ...]] = {
        256: (count_row_bytes(width, num_samples, layout),),
        257: (layout.height,),
        258: (8,),
        259: (layout.compression,),
        262: (1,),
        266: (layout.fill_order,),
        277: (1,),
    }
    if segments.is_tiled:
        tags[322] = (count_row_bytes(segments.width, num_samples, layout),)
        tags[323] = (segments.height,)
        tags[324], tags[325] = offsets, num_bytes
    else:
        tags[278] = (segments.height,)
        tags[273], tags[279] = offsets, num_bytes
    file = io.BytesIO(_with_directory(data, tags))
    with Image.open(file, formats=[TiffImagePlugin.TiffImageFile.format]) as image:
        image.load()
        return np.asarray(image)


def _check_segments(
    offsets: tuple[int, ...],
    num_bytes: tuple[int, ...],
    layout: Layout,
    num_samples: int,
    file_bytes: int,
) -> None:
    """Raise OSError if a segment lies outside the file or is too short."""
    segments = layout.segments
    row = count_row_bytes(segments.width, num_samples, layout)
    across = -(-layout.width // segments.width)
    for index, (offset, length) in enumerate(zip(offsets, num_bytes, strict=True)):
        if offset + length > file_bytes or length == 0:
            raise OSError("the image data end early")
        rows = segments.height
        if not segments.is_tiled:
            rows = min(rows, layout.height - index // across * segments.height)
        if layout.compression == 1 and length < row * rows:
            raise OSError("the image data end early")


def _with_directory(data: mmap | bytes, tags: dict[int, tuple[int, ...]]) -> bytes:
    """Return the file with an appended directory, to which its header points.

    The directory is little-endian, because Pillow does not read big-endian BigTIFF. The
    byte order of the file does not matter for rows of bytes.
    """
    order = "<"
    is_big = is_big_tiff(data)
    link, number, entry = ("Q", "Q", "HHQ") if is_big else ("I", "H", "HHI")
    inline = 8 if is_big else 4
    start = len(data) + len(data) % 2
    entries, values = b"", b""
    head_bytes = struct.calcsize(order + number) + len(tags) * (
        struct.calcsize(order + entry) + inline
    )
    behind = start + head_bytes + inline
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}{link}", *numbers)
        kind = 16 if is_big else 4
        entries += struct.pack(order + entry, tag, kind, len(numbers))
        if len(packed) <= inline:
            entries += packed
        else:
            entries += struct.pack(order + link, behind + len(values))
            values += packed
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, start)
    if not is_big:
        head = struct.pack("<2sHI", b"II", 42, start)
    directory = struct.pack(order + number, len(tags)) + entries + bytes(inline)
    return b"".join(
        (head, data[len(head) :], bytes(start - len(data)), directory, values)
    )
