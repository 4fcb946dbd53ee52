"""Decode images of which a part is missing, and tell which part.

Two methods find the missing pixels, both of which decode twice. Most decoders leave
pixels alone for which they have no data, so a pixel that keeps two different initial
values is missing. The JPEG decoder invents values instead, so the file is completed
once by an end marker and once by arbitrary bits; missing pixels differ.
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

__all__ = ["Loaded", "load", "open_tolerantly", "truncation_warning"]

Opener = Callable[[IO[bytes]], Image.Image]

_END_OF_JPEG = b"\xff\xd9"
# Without 0xFF, which begins a marker.
_ARBITRARY_BITS = bytes(random.Random(0).choices(range(255), k=4096))
# Modes that ImageChops does not compare, and those whose bytes are laid out alike.
_COMPARABLE = {"P": "L", "PA": "LA", "I": "RGBA", "F": "RGBA"}


class Loaded:
    """A decoded image, and where its pixels are missing."""

    def __init__(
        self,
        image: Image.Image,
        missing: Image.Image | None = None,
        *,
        is_truncated: bool = False,
    ) -> None:
        self.image = image
        self.missing = missing
        """A mask of mode L, 255 where the file has no data; None: nowhere known."""
        self.is_truncated = is_truncated


def open_tolerantly(open_file: Opener, file: IO[bytes]) -> Image.Image:
    """Open an image, also one with a wrong checksum that no pixel depends on."""
    try:
        return open_file(file)
    except (HandlerError, MemoryError):
        raise
    except Exception:
        with tolerate_damage():
            file.seek(0)
            return open_file(file)


def load(image: Image.Image, content: Callable[[], bytes], open_file: Opener) -> Loaded:
    """Decode `image`, of whose file `content` returns the bytes.

    Raises the decoder's error if no pixel can be decoded.
    """
    try:
        image.load()
        return Loaded(image)
    except MemoryError:
        raise
    except Exception:
        is_jpeg = isinstance(image, JpegImagePlugin.JpegImageFile)
        find = _load_jpeg if is_jpeg else _load_rows
        loaded = find(content(), open_file)
        if loaded is None:
            raise
        return loaded


def truncation_warning(loaded: Loaded) -> tuple[PageWarning, ...]:
    """Return the warning that data are missing; none if all pixels were decoded."""
    if not loaded.is_truncated:
        return ()
    detail = "the file ends early or is damaged: a part of the image is missing"
    if loaded.missing is not None:
        count = loaded.missing.histogram()[255]
        share = count / (loaded.missing.width * loaded.missing.height)
        detail = (
            f"the file ends early or is damaged: {_percent(share)} of the image is "
            "missing and left white"
        )
    return (PageWarning("truncated_image", detail),)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else "less than 1 %"


def _load_jpeg(content: bytes, open_file: Opener) -> Loaded | None:
    image = _load_onto(0, content + _END_OF_JPEG, open_file)
    other = _load_onto(-1, content + _ARBITRARY_BITS + _END_OF_JPEG, open_file)
    if image is None or other is None:
        return None
    differing = ImageChops.difference(image, other).getbbox()
    del other
    if differing is None:
        return Loaded(image)  # only the end marker was missing
    # Decoding ends within a row of blocks. Interpolated colours differ a little above.
    rows = _rows_of_blocks(image)
    top = (differing[1] + 2) // rows * rows
    if image.info.get("progressive"):
        # The whole page is there, with less detail.
        return Loaded(image, is_truncated=True)
    if top == 0:
        return None
    missing = Image.new("L", image.size)
    missing.paste(255, (0, top, *image.size))
    return Loaded(image, missing, is_truncated=True)


def _rows_of_blocks(image: Image.Image) -> int:
    """Return how many rows of pixels a JPEG's blocks have, chroma included."""
    layers: list[tuple[int, int, int, int]] = getattr(image, "layer", [])
    full: int = 8 * max((vertical for _, _, vertical, _ in layers), default=1)
    scale = getattr(image, "decoderconfig", ()) or (1,)
    return max(1, full // scale[0])


def _load_rows(content: bytes, open_file: Opener) -> Loaded | None:
    image = _load_onto(0, content, open_file)
    other = _load_onto(-1, content, open_file)
    if image is None or other is None or image.size != other.size:
        return None
    missing = _differing(image, other)
    del other
    num_missing = missing.histogram()[255]
    if num_missing == image.width * image.height:
        return None
    if num_missing == 0:
        # A GIF with a transparent colour gives its pixels that value by itself.
        is_truncated = image.format == "GIF" and "transparency" in image.info
        return Loaded(image, is_truncated=is_truncated)
    return Loaded(image, missing, is_truncated=True)


def _load_onto(value: int, content: bytes, open_file: Opener) -> Image.Image | None:
    """Decode onto pixels whose bits are those of `value`; None without any pixel."""
    with tolerate_damage():
        image = open_file(BytesIO(content))
        # Pillow decodes into memory that is there already.
        image.im = _filled(image.mode, image.size, value).im
        with suppress(OSError, SyntaxError, ValueError, EOFError, IndexError):
            image.load()
        if getattr(image, "_im", None) is None:
            return None
        # What was decoded before an error is kept; do not try again.
        if hasattr(image, "tile"):
            image.tile = []
        image.load()
    return image


def _filled(mode: str, size: tuple[int, int], value: int) -> Image.Image:
    if mode == "F":
        return Image.new(mode, size, float(value))
    if mode == "I":
        return Image.new(mode, size, value)
    if mode.startswith("I;16"):
        return Image.new(mode, size, value & 0xFFFF)
    num_bands = Image.getmodebands(mode)
    byte = value & 0xFF
    return Image.new(mode, size, byte if num_bands == 1 else (byte,) * num_bands)


def _differing(image: Image.Image, other: Image.Image) -> Image.Image:
    """Return a mask of mode L, 255 where two images of one mode and size differ."""
    bands = ImageChops.difference(_comparable(image), _comparable(other)).split()
    most = bands[0]
    for band in bands[1:]:
        most = ImageChops.lighter(most, band)
    return most.point(lambda value: 255 if value else 0)


def _comparable(image: Image.Image) -> Image.Image:
    if image.mode == "1":
        return image.convert("L")
    mode = "LA" if image.mode.startswith("I;16") else _COMPARABLE.get(image.mode)
    if mode is None:
        return image
    return Image.frombytes(mode, image.size, image.tobytes())
