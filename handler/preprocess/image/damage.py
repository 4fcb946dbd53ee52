"""Decoding of damaged images, and detection of their missing pixels.

Missing pixels are found by decoding twice, with one of two methods. Most decoders do
not write pixels for which they have no data, so a pixel that keeps two different
initial values is missing. The JPEG decoder invents values instead, so the file is
completed once with an end marker and once with arbitrary bits, and the missing pixels
differ.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import IO

from PIL import Image, ImageChops, JpegImagePlugin

from handler.errors import HandlerError
from handler.preprocess.image.formats import tolerate_damage
from handler.schema import PageWarning

__all__ = [
    "LoadedImage",
    "load_intact_part",
    "open_ignoring_checksums",
    "truncation_warning",
]

Opener = Callable[[IO[bytes]], Image.Image]

_END_OF_JPEG = b"\xff\xd9"
# The bytes exclude 0xFF, which begins a marker.
_ARBITRARY_BITS = bytes(random.Random(0).choices(range(255), k=4096))
# Modes that ImageChops cannot compare, and modes with the same number of bytes a pixel.
_COMPARABLE = {"P": "L", "PA": "LA", "I": "RGBA", "F": "RGBA"}


class LoadedImage:
    """A decoded image and the mask of its missing pixels."""

    def __init__(
        self,
        image: Image.Image,
        missing: Image.Image | None = None,
        *,
        is_truncated: bool = False,
    ) -> None:
        self.image = image
        self.missing = missing
        """Mask of mode L, 255 where the file has no data; None if it is unknown."""
        self.is_truncated = is_truncated


def open_ignoring_checksums(open_file: Opener, file: IO[bytes]) -> Image.Image:
    """Open an image, ignoring wrong checksums of data other than pixels.

    Raises HandlerError, or the decoder's error if it still cannot open the file.
    """
    try:
        return open_file(file)
    except (HandlerError, MemoryError):
        raise
    except Exception:
        with tolerate_damage():
            file.seek(0)
            return open_file(file)


def load_intact_part(
    image: Image.Image, content: Callable[[], bytes], open_file: Opener
) -> LoadedImage:
    """Decode `image`, as far as its file is intact.

    `content` returns the bytes of the file, and `open_file` opens them again. They are
    called only if the file is damaged; the result then has a new image. Raises the
    decoder's error if no pixel can be decoded.
    """
    try:
        image.load()
        return LoadedImage(image)
    except MemoryError:
        raise
    except Exception:
        is_jpeg = isinstance(image, JpegImagePlugin.JpegImageFile)
        load = _load_damaged_jpeg if is_jpeg else _load_damaged_rows
        loaded = load(content(), open_file)
        if loaded is None:
            raise
        return loaded


def truncation_warning(loaded: LoadedImage) -> tuple[PageWarning, ...]:
    """Return a `truncated_image` warning, or () if all pixels were decoded."""
    if not loaded.is_truncated:
        return ()
    detail = "the file ends early or is damaged: a part of the image is missing"
    if loaded.missing is not None:
        count = loaded.missing.histogram()[255]
        share = count / (loaded.missing.width * loaded.missing.height)
        detail = (
            "the file ends early or is damaged: "
            f"{_format_percent(share)} of the image is missing and left white"
        )
    return (PageWarning("truncated_image", detail),)


def _format_percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else "less than 1 %"


def _load_damaged_jpeg(content: bytes, open_file: Opener) -> LoadedImage | None:
    """Decode a damaged JPEG; return None if no row of its blocks is intact."""
    image = _load_over_value(0, content + _END_OF_JPEG, open_file)
    other = _load_over_value(-1, content + _ARBITRARY_BITS + _END_OF_JPEG, open_file)
    if image is None or other is None:
        return None
    differing = ImageChops.difference(image, other).getbbox()
    del other
    if differing is None:
        return LoadedImage(image)  # only the end marker was missing
    # The data end within a row of blocks. Colours are interpolated, so they differ up
    # to two rows of pixels above it.
    rows = _block_height(image)
    top = (differing[1] + 2) // rows * rows
    if image.info.get("progressive"):
        # A truncated progressive JPEG has the whole image with less detail.
        return LoadedImage(image, is_truncated=True)
    if top == 0:
        return None
    missing = Image.new("L", image.size)
    missing.paste(255, (0, top, *image.size))
    return LoadedImage(image, missing, is_truncated=True)


def _block_height(image: Image.Image) -> int:
    """Return the height in pixels of a JPEG's blocks, including subsampled chroma."""
    layers: list[tuple[int, int, int, int]] = getattr(image, "layer", [])
    full: int = 8 * max((vertical for _, _, vertical, _ in layers), default=1)
    scale = getattr(image, "decoderconfig", ()) or (1,)
    return max(1, full // scale[0])


def _load_damaged_rows(content: bytes, open_file: Opener) -> LoadedImage | None:
    """Decode a damaged image that is not a JPEG; return None if no pixel is intact."""
    image = _load_over_value(0, content, open_file)
    other = _load_over_value(-1, content, open_file)
    if image is None or other is None or image.size != other.size:
        return None
    missing = _mask_differences(image, other)
    del other
    num_missing = missing.histogram()[255]
    if num_missing == image.width * image.height:
        return None
    if num_missing == 0:
        # The decoder of a GIF with a transparent colour initialises all pixels itself,
        # so missing pixels cannot be found.
        is_truncated = image.format == "GIF" and "transparency" in image.info
        return LoadedImage(image, is_truncated=is_truncated)
    return LoadedImage(image, missing, is_truncated=True)


def _load_over_value(
    value: int, content: bytes, open_file: Opener
) -> Image.Image | None:
    """Decode an image over pixels that are initialised with the bits of `value`.

    Returns None if the decoder produces no image.
    """
    with tolerate_damage():
        image = open_file(BytesIO(content))
        # Pillow decodes into the existing memory of an image.
        image.im = _new_image(image.mode, image.size, value).im
        with suppress(OSError, SyntaxError, ValueError, EOFError, IndexError):
            image.load()
        if getattr(image, "_im", None) is None:
            return None
        # Keep what was decoded before an error. Without tiles, load_intact_part() does
        # not decode again.
        if hasattr(image, "tile"):
            image.tile = []
        image.load()
    return image


def _new_image(mode: str, size: tuple[int, int], value: int) -> Image.Image:
    """Return an image whose pixels have the bits of `value`, 0 or -1."""
    if mode == "F":
        return Image.new(mode, size, float(value))
    if mode == "I":
        return Image.new(mode, size, value)
    if mode.startswith("I;16"):
        return Image.new(mode, size, value & 0xFFFF)
    num_bands = Image.getmodebands(mode)
    byte = value & 0xFF
    return Image.new(mode, size, byte if num_bands == 1 else (byte,) * num_bands)


def _mask_differences(image: Image.Image, other: Image.Image) -> Image.Image:
    """Return a mask of mode L, 255 where two images of equal mode and size differ."""
    bands = ImageChops.difference(_to_comparable(image), _to_comparable(other)).split()
    most = bands[0]
    for band in bands[1:]:
        most = ImageChops.lighter(most, band)
    return most.point(lambda value: 255 if value else 0)


def _to_comparable(image: Image.Image) -> Image.Image:
    """Convert an image to a mode that ImageChops can compare, keeping differences."""
    if image.mode == "1":
        return image.convert("L")
    mode = "LA" if image.mode.startswith("I;16") else _COMPARABLE.get(image.mode)
    if mode is None:
        return image
    return Image.frombytes(mode, image.size, image.tobytes())
