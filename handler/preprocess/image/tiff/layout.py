"""Layout of the samples of a TIFF frame, from its tags.

Pillow parses the tags. The layout decides whether Pillow or `tiff.samples` interprets
the samples. If neither can, an error names the unsupported feature.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from mmap import mmap
from typing import IO, Any, cast

from PIL import TiffImagePlugin

__all__ = ["Layout", "Segments", "is_big_tiff", "read_layout"]

PLANAR = 2

MIN_IS_WHITE, MIN_IS_BLACK, RGB, PALETTE = 0, 1, 2, 3
SEPARATED, YCBCR, CIE_LAB = 5, 6, 8
UNSIGNED, SIGNED, FLOAT = 1, 2, 3

_CCITT = {2: "CCITT RLE", 3: "CCITT Group 3", 4: "CCITT Group 4"}
_JPEG = {6: "old-style JPEG", 7: "JPEG"}
# These compressions restore the bytes of the rows, so samples may be of any type.
_LOSSLESS_BYTE_COMPRESSIONS = {
    1: "none",
    5: "LZW",
    8: "Deflate",
    32773: "PackBits",
    32946: "Deflate",
    34925: "LZMA",
    50000: "Zstandard",
}
_SUPPORTED = {**_LOSSLESS_BYTE_COMPRESSIONS, **_CCITT, **_JPEG}
_UNSUPPORTED = {
    32766: "NeXT",
    32771: "CCITT RLE with words",
    32809: "ThunderScan",
    32908: "Pixar film",
    32909: "Pixar log",
    34661: "JBIG",
    34663: "JBIG2",
    34676: "SGI Log",
    34677: "SGI Log24",
    33003: "Aperio JPEG 2000",
    33005: "Aperio JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of DNG",
    34933: "PNG",
    34934: "JPEG XR",
    22610: "JPEG XR",
    48124: "Jetraw",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_PHOTOMETRICS = {
    MIN_IS_WHITE: "white is zero",
    MIN_IS_BLACK: "black is zero",
    RGB: "RGB",
    PALETTE: "palette",
    4: "transparency mask",
    SEPARATED: "CMYK",
    YCBCR: "YCbCr",
    CIE_LAB: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "raw sensor data",
    32844: "LogL",
    32845: "LogLuv",
    34892: "linear raw data",
}
_NUM_COLOURS = {
    MIN_IS_WHITE: 1,
    MIN_IS_BLACK: 1,
    RGB: 3,
    PALETTE: 1,
    SEPARATED: 4,
    YCBCR: 3,
    CIE_LAB: 3,
}
_MAX_SAMPLES = 64
VALUES_MISSING = "the file ends before values that its tags refer to"


def is_big_tiff(data: mmap | bytes) -> bool:
    """Return True if the file is a BigTIFF, which has 64-bit offsets."""
    return b"+" in data[2:4]


@dataclass(frozen=True, slots=True)
class Segments:
    """The strips or tiles of a frame, which are compressed independently."""

    offsets: tuple[int, ...]
    num_bytes: tuple[int, ...]
    width: int
    """Width in pixels. Strips have the width of the image."""
    height: int
    is_tiled: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """Storage and interpretation of a frame's samples."""

    width: int
    height: int
    bits: int
    """Bits per sample; 0 if samples differ in depth."""
    num_samples: int
    sample_format: int
    photometric: int
    is_photometric_stated: bool
    is_planar: bool
    compression: int
    predictor: int
    fill_order: int
    extra_samples: tuple[int, ...]
    orientation: int
    max_sample_value: float | None
    colour_map: tuple[int, ...]
    is_big_endian_big_tiff: bool
    subsampling: tuple[int, ...]
    ink_set: int
    segments: Segments

    @property
    def num_colours(self) -> int:
        return _NUM_COLOURS.get(self.photometric, 1)

    @property
    def alpha(self) -> int:
        """Kind of the alpha sample: 0 for none, 1 for premultiplied, 2 for straight."""
        if self.num_samples <= self.num_colours:
            return 0
        if not self.extra_samples:
            # Many writers omit the ExtraSamples tag of RGBA images.
            return 2 if self.photometric == RGB and self.num_samples == 4 else 0
        return self.extra_samples[0] if self.extra_samples[0] in (1, 2) else 0

    def check_supported(self) -> None:
        """Check that Pillow or `tiff.samples` can interpret the samples.

        Raises NotImplementedError with the unsupported feature.
        """
        if self.compression not in _SUPPORTED:
            name = _UNSUPPORTED.get(self.compression, "unknown")
            _raise_unsupported(f"compression {self.compression} ({name})")
        if self.photometric not in _NUM_COLOURS:
            name = _PHOTOMETRICS.get(self.photometric, "unknown")
            _raise_unsupported(
                f"photometric interpretation {self.photometric} ({name})"
            )
        if self.num_samples < self.num_colours:
            _raise_unsupported(
                f"{_PHOTOMETRICS[self.photometric]} with {self.num_samples} samples "
                "a pixel"
            )
        if self.num_samples > _MAX_SAMPLES:
            _raise_unsupported(f"{self.num_samples} samples a pixel")
        if self.photometric == SEPARATED and self.ink_set != 1:
            _raise_unsupported("inks other than CMYK")
        if self.is_read_by_pillow:
            return
        if self.compression not in _LOSSLESS_BYTE_COMPRESSIONS:
            if self.is_big_endian_big_tiff:
                name = _SUPPORTED[self.compression]
                _raise_unsupported(f"{name} compression in big-endian BigTIFF")
            if self.bits > 8 or not self.bits:
                name = _SUPPORTED[self.compression]
                _raise_unsupported(f"{name} compression of {self._describe_bits()}")
            return
        if not self.bits:
            _raise_unsupported(self._describe_bits())
        if self.sample_format not in (UNSIGNED, SIGNED, FLOAT):
            _raise_unsupported(f"sample format {self.sample_format}")
        if self.sample_format == FLOAT and self.bits not in (16, 32, 64):
            _raise_unsupported(f"floating-point samples of {self.bits} bits")
        if self.sample_format == SIGNED and self.bits not in (8, 16, 32):
            _raise_unsupported(f"signed samples of {self.bits} bits")
        if self.bits > 32 and self.sample_format != FLOAT:
            _raise_unsupported(self._describe_bits())
        if self.photometric in (YCBCR, CIE_LAB):
            _raise_unsupported(
                f"{_PHOTOMETRICS[self.photometric]} in {self._describe_bits()}"
                f"{' and separate planes' if self.is_planar else ''}"
            )
        if self.photometric == PALETTE and (
            self.bits > 16 or self.sample_format != UNSIGNED
        ):
            _raise_unsupported(f"a palette for {self._describe_bits()}")
        if self.predictor not in (1, 2, 3):
            _raise_unsupported(f"predictor {self.predictor}")
        if (self.predictor == 3) != (self.sample_format == FLOAT) and (
            self.predictor != 1
        ):
            _raise_unsupported(
                f"predictor {self.predictor} for sample format {self.sample_format}"
            )
        if self.predictor == 2 and self.bits not in (8, 16, 32):
            _raise_unsupported(f"predictor 2 for {self._describe_bits()}")

    @property
    def is_read_by_pillow(self) -> bool:
        """True if Pillow reads the samples correctly, as other TIFF readers do."""
        if self.is_big_endian_big_tiff:
            return False
        if self.compression not in _LOSSLESS_BYTE_COMPRESSIONS:
            return self.bits in (1, 2, 4, 8)
        return (
            self.bits in (1, 2, 4, 8)
            and self.sample_format == UNSIGNED
            and self.is_photometric_stated
            and not (self.is_planar and self.num_samples > 1)
            and self.num_samples - len(self.extra_samples) <= self.num_colours
            and len(self.extra_samples) <= 1
            and (self.bits == 8 or self.num_samples == 1)
            and not (self.fill_order == 2 and self.num_samples > 3)
            and not (self.alpha and self.photometric in (MIN_IS_WHITE, SEPARATED))
        )

    @property
    def has_byte_rows(self) -> bool:
        """True if decompression restores the bytes of rows without interpretation."""
        return self.compression in _LOSSLESS_BYTE_COMPRESSIONS

    @property
    def description(self) -> str:
        """Text that states the compression, colours, number and depth of samples."""
        compression = _SUPPORTED.get(self.compression, str(self.compression))
        colours = _PHOTOMETRICS.get(self.photometric, str(self.photometric))
        return (
            f"compression {compression} of {colours} with {self.num_samples} samples "
            f"of {self.bits or 'different'} bits"
        )

    def _describe_bits(self) -> str:
        if not self.bits:
            return "samples of different depths"
        return f"samples of {self.bits} bits"


def read_layout(data: mmap | bytes) -> Layout:
    """Parse the tags of the frame to which the header points.

    Raises OSError if required tags are missing or contradictory, and
    NotImplementedError if the samples of a pixel have different types.
    """
    tags = _Tags(data)
    width, height = tags.number(256), tags.number(257)
    if width is None or height is None:
        raise OSError("the size of the image is missing")
    compression = tags.number(259, 1)
    stated = tags.number(262)
    num_samples = tags.number(277)
    bits = tags.numbers(258) or (1,)
    if num_samples is None:
        num_samples = 3 if compression == 6 else len(bits)
    formats = set(tags.numbers(339)[:num_samples] or (UNSIGNED,))
    if len(formats) > 1:
        _raise_unsupported("samples of different types")
    sample_format = formats.pop()
    bits = bits[: max(num_samples, 1)]
    if sample_format == 4:  # "undefined", which other readers treat as unsigned
        sample_format = UNSIGNED
    return Layout(
        width=width,
        height=height,
        bits=bits[0] if len(set(bits)) == 1 else 0,
        num_samples=num_samples,
        sample_format=sample_format,
        photometric=_resolve_photometric(stated, compression, num_samples),
        is_photometric_stated=stated is not None,
        is_planar=tags.number(284, 1) == PLANAR,
        compression=compression,
        predictor=tags.number(317, 1),
        fill_order=tags.number(266, 1),
        extra_samples=tags.numbers(338),
        orientation=tags.number(274, 1),
        max_sample_value=tags.value(341) or tags.value(281),
        colour_map=tags.numbers(320),
        is_big_endian_big_tiff=data[:1] == b"M" and is_big_tiff(data),
        subsampling=tags.numbers(530) or (2, 2),
        ink_set=tags.number(332, 1),
        segments=_read_segments(tags, width, height),
    )


def _resolve_photometric(stated: int | None, compression: int, num_samples: int) -> int:
    """Return the photometric interpretation; without the tag, libtiff's default."""
    if compression == 6:
        return YCBCR
    if stated is not None:
        return stated
    if compression in _CCITT:
        return MIN_IS_WHITE
    return MIN_IS_BLACK if num_samples < 3 else RGB


def _read_segments(tags: _Tags, width: int, height: int) -> Segments:
    if tile_offsets := tags.numbers(324):
        return Segments(
            tile_offsets,
            tags.numbers(325),
            tags.number(322, 0),
            tags.number(323, 0),
            is_tiled=True,
        )
    rows = tags.number(278, height) or height
    return Segments(
        tags.numbers(273), tags.numbers(279), width, min(rows, height), is_tiled=False
    )


class _Tags:
    """The numeric tags of a frame. A missing tag is an empty tuple."""

    def __init__(self, data: mmap | bytes) -> None:
        head = data[: 16 if is_big_tiff(data) else 8]
        prefix = None
        # Pillow does not recognise a big-endian BigTIFF, so it gets a little-endian
        # header and the prefix of the other byte order.
        if head[3:4] == b"+":
            head, prefix = b"II+\0" + head[4:], b"MM"
        self._tags = TiffImagePlugin.ImageFileDirectory_v2(head, prefix)
        if self._tags.next >= len(data):
            raise OSError("the file ends before the tags of the image")
        file = io.BytesIO(data) if isinstance(data, bytes) else data
        file.seek(self._tags.next)
        try:
            self._tags.load(cast("IO[bytes]", file))
        except ValueError as error:  # mmap does not seek beyond its end
            raise OSError(VALUES_MISSING) from error

    def value(self, tag: int) -> Any:
        """Return the first number of a tag, or None."""
        numbers = self.numbers(tag)
        return numbers[0] if numbers else None

    def numbers(self, tag: int) -> tuple[Any, ...]:
        value = self._tags.get(tag)
        if value is None:
            return ()
        values = value if isinstance(value, tuple) else (value,)
        return values if all(isinstance(v, (int, float)) for v in values) else ()

    def number(self, tag: int, default: int | None = None) -> Any:
        value = self.value(tag)
        return default if value is None else int(value)


def _raise_unsupported(feature: str) -> None:
    raise NotImplementedError(f"not supported in TIFF: {feature}")
