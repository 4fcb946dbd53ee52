"""Pillow plugins for TIFF frames whose samples Pillow misreads.

Pillow reads all samples of more than 8 bits as 16 bits, ignores for them whether zero
is white, and mixes up planes. Its libtiff decompresses such a frame correctly if its
tags say that the rows are bytes. This module interprets the samples in these bytes.
"""

from __future__ import annotations

from mmap import mmap
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

from handler.preprocess.image.samples import choose_scale, find_extrema, scale_image
from handler.preprocess.image.tiff.frames import has_values_beyond_end
from handler.preprocess.image.tiff.layout import (
    MIN_IS_WHITE,
    PALETTE,
    RGB,
    SEPARATED,
    VALUES_MISSING,
    Layout,
    read_layout,
)
from handler.preprocess.image.tiff.segments import (
    count_row_bytes,
    count_segments_per_plane,
    unpack_plane,
)

__all__ = ["FORMATS"]

_FORMAT = "TIFF_SAMPLES"
_UNSUPPORTED_FORMAT = "TIFF_UNSUPPORTED"

FORMATS = (_FORMAT, TiffImagePlugin.TiffImageFile.format, _UNSUPPORTED_FORMAT)
"""Names of Pillow's formats for a TIFF, in the order in which they are tried."""

_DTYPE_KINDS = {1: "u", 2: "i", 3: "f"}


class TiffSamplesFile(ImageFile.ImageFile):
    """First frame of a TIFF that Pillow's own plugin would misread.

    Opening raises SyntaxError if Pillow reads the frame correctly, and
    NotImplementedError if neither plugin can read it.
    """

    format = _FORMAT
    format_description = "TIFF with samples of any depth"

    def _open(self) -> None:
        layout = read_layout(_read_content(self.fp))
        layout.check_supported()
        if layout.is_read_by_pillow or not layout.has_byte_rows:
            raise SyntaxError("Pillow reads this frame")
        self._layout = layout
        self._mode = _choose_mode(layout)
        self._size = (layout.width, layout.height)
        # `decode` rotates the image by its EXIF orientation.
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = layout.orientation
        self.info["exif"] = exif.tobytes()

    def load(self) -> Any:
        if self._im is None:
            frame = _FrameSamples(_read_content(self.fp), self._layout)
            self.im = frame.to_image(self.mode).im
        return Image.Image.load(self)


class UnsupportedTiffFile(ImageFile.ImageFile):
    """First frame of a TIFF that no other plugin reads. Opening it raises the reason.

    The reason is an OSError for a truncated file, else a NotImplementedError.
    """

    format = _UNSUPPORTED_FORMAT
    format_description = "Unsupported TIFF"

    def _open(self) -> None:
        content = _read_content(self.fp)
        layout = read_layout(content)
        if has_values_beyond_end(content):
            raise OSError(VALUES_MISSING)
        raise NotImplementedError(
            "its tags are damaged, or state a layout that is not supported in TIFF: "
            + layout.description
        )


def _read_content(file: Any) -> mmap | bytes:
    """Return the content of a file. A memory mapping is not copied."""
    if isinstance(file, mmap):
        return file
    file.seek(0)
    return cast("bytes", file.read())


def _accept(head: bytes) -> bool:
    return head[:2] in (b"II", b"MM")


Image.register_open(_FORMAT, TiffSamplesFile, _accept)
Image.register_open(_UNSUPPORTED_FORMAT, UnsupportedTiffFile, _accept)


def _choose_mode(layout: Layout) -> str:
    if layout.photometric == SEPARATED:
        return "CMYK"
    is_colour = layout.photometric in (RGB, PALETTE)
    modes = ("RGB", "RGBa", "RGBA") if is_colour else ("L", "La", "LA")
    return modes[layout.alpha]


class _FrameSamples:
    """Decompressed bytes of a frame, and their interpretation as samples.

    Creating it decompresses the frame. Raises OSError if data are missing.
    """

    def __init__(self, data: mmap | bytes, layout: Layout) -> None:
        self._layout = layout
        num_planes = layout.num_samples if layout.is_planar else 1
        self._samples_per_plane = layout.num_samples // num_planes
        # Planes of extra samples without a stated meaning are not needed.
        num_planes = min(num_planes, layout.num_colours + bool(layout.alpha))
        self._order = "<" if data[:1] == b"I" else ">"
        segments = count_segments_per_plane(layout)
        self._planes = [
            unpack_plane(
                data, layout, self._samples_per_plane, plane * segments, segments
            )
            for plane in range(num_planes)
        ]

    def to_image(self, mode: str) -> Image.Image:
        """Return the frame as an image of 8 bits per sample.

        Raises OSError if the palette ends early or a sample is not finite.
        """
        layout = self._layout
        if layout.photometric == PALETTE:
            return self._apply_palette(mode)
        scale = choose_scale(
            find_extrema(self.rows, (layout.width, layout.height), layout.num_colours),
            self.rows(0, 1).dtype,
            layout.bits,
            declared_maximum=layout.max_sample_value,
            zero_is_white=layout.photometric in (MIN_IS_WHITE, SEPARATED),
        )
        return scale_image(
            self.rows,
            mode,
            (layout.width, layout.height),
            scale,
            invert=layout.photometric == MIN_IS_WHITE,
        )

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Return the samples of rows `start` to `stop`, exclusive, in native order.

        The shape is (rows, columns, samples).
        """
        planes = [self._unpack_rows(plane[start:stop]) for plane in self._planes]
        return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)

    def _unpack_rows(self, packed: NDArray[Any]) -> NDArray[Any]:
        """Return samples of shape (rows, columns, samples) from rows of bytes."""
        layout = self._layout
        columns = [
            self._undo_prediction(block)
            for block in np.array_split(
                packed, self._predictor_restarts(packed.shape[1]), axis=1
            )
        ]
        samples = np.concatenate(columns, axis=1) if len(columns) > 1 else columns[0]
        num_per_row = layout.width * self._samples_per_plane
        return samples[:, :num_per_row].reshape(
            len(packed), layout.width, self._samples_per_plane
        )

    def _predictor_restarts(self, num_bytes: int) -> list[int]:
        """Return the byte offsets in a row at which a predictor restarts.

        The first sample of a tile is stored as it is, not as a difference.
        """
        segments = self._layout.segments
        if self._layout.predictor == 1 or not segments.is_tiled:
            return []
        tile_bytes = count_row_bytes(
            segments.width, self._samples_per_plane, self._layout
        )
        return list(range(tile_bytes, num_bytes, tile_bytes))

    def _undo_prediction(self, packed: NDArray[Any]) -> NDArray[Any]:
        """Convert rows of bytes to rows of samples, and undo the predictor."""
        bits, stride = self._layout.bits, self._samples_per_plane
        kind = _DTYPE_KINDS[self._layout.sample_format]
        if bits not in (8, 16, 32, 64):
            return _unpack_bits(packed, bits)
        if self._layout.predictor == 3:
            return _undo_float_prediction(packed, bits, stride)
        words = np.ascontiguousarray(packed).view(f"{self._order}{kind}{bits // 8}")
        words = words.astype(words.dtype.newbyteorder("="), copy=False)
        if self._layout.predictor == 2:
            pixels = words.reshape(len(words), -1, stride)
            sums: NDArray[Any] = np.cumsum(pixels, axis=1, dtype=words.dtype)
            return sums.reshape(words.shape)
        return words

    def _apply_palette(self, mode: str) -> Image.Image:
        """Return the frame with the colours of its palette."""
        layout = self._layout
        num_colours = 1 << layout.bits
        if len(layout.colour_map) < 3 * num_colours:
            raise OSError("the palette ends early")
        colours = np.array(layout.colour_map[: 3 * num_colours], np.uint32)
        palette = (colours >> 8).astype(np.uint8).reshape(3, num_colours).T
        alpha_shift = max(layout.bits - 8, 0)

        def rows(start: int, stop: int) -> NDArray[Any]:
            samples = self.rows(start, stop)
            bands: NDArray[Any] = palette[samples[..., 0]]
            if not layout.alpha:
                return bands
            alpha = (samples[..., 1:2] >> alpha_shift).astype(np.uint8)
            return np.concatenate((bands, alpha), axis=2)

        scale = choose_scale((0, 255), np.dtype(np.uint8), 8)
        return scale_image(rows, mode, (layout.width, layout.height), scale)


def _unpack_bits(packed: NDArray[Any], bits: int) -> NDArray[Any]:
    """Unpack numbers of `bits` bits from rows of bytes, the highest bit first."""
    num_rows = len(packed)
    all_bits = np.unpackbits(packed, axis=1)
    num_numbers = all_bits.shape[1] // bits
    all_bits = all_bits[:, : num_numbers * bits].reshape(num_rows, num_numbers, bits)
    dtype = np.uint8 if bits < 8 else np.uint16 if bits <= 16 else np.uint32
    numbers = np.zeros((num_rows, num_numbers), dtype)
    for bit in range(bits):
        numbers <<= 1
        numbers |= all_bits[:, :, bit]
    return numbers


def _undo_float_prediction(
    packed: NDArray[Any], bits: int, stride: int
) -> NDArray[Any]:
    """Return the floats of rows that are encoded with predictor 3.

    Each row has the first bytes of all its samples, then their second bytes, and so on,
    as differences of neighbouring bytes. See TIFF Technical Note 3.
    """
    num_rows, num_bytes = packed.shape
    size = bits // 8
    sums = np.cumsum(
        packed.reshape(num_rows, -1, stride), axis=1, dtype=np.uint8
    ).reshape(num_rows, size, num_bytes // size)
    words = np.ascontiguousarray(sums.transpose(0, 2, 1)).view(f">f{size}")
    return words[..., 0].astype(words.dtype.newbyteorder("="))
