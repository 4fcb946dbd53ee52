"""Decode an image into what a reader of it would see: upright, on white, in RGB.

By Pillow. Its own guard against large images is off, because ours comes first
and names the limit; its guard against truncated ones stays on.
"""

from __future__ import annotations

import codecs
import importlib
import math
from mmap import mmap
from typing import IO, cast

from PIL import ExifTags, Image

from handler.errors import UnreadableDocumentError
from handler.preprocess.image.plugins import plugins_of
from handler.preprocess.limits import Limits, check_pixels

__all__ = ["import_all", "open_image", "upright_rgb"]

Image.MAX_IMAGE_PIXELS = None

_WHITE = (255, 255, 255)
_MAX_8_BITS = 255
_MAX_16_BITS = 65_535

# What to do with an image of each EXIF orientation. Not ImageOps.exif_transpose,
# which writes the EXIF data anew and fails where they are odd.
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def import_all() -> None:
    """Import all that decoders would import on demand.

    For processes that cannot open files later: Pillow looks for colour profiles, and
    for further plugins when none knows an image; Python for encodings of texts.
    """
    Image.init()
    for name in ("ImageCms", "ImageColor", "ImageFilter", "ImagePalette"):
        importlib.import_module(f"PIL.{name}")
    for name in ("ascii", "latin-1", "utf-16-le", "utf-16-be", "utf-16", "utf-32"):
        codecs.lookup(name)


def open_image(
    subject: str, data: mmap, media_type: str, limits: Limits
) -> Image.Image:
    """The image by its header; nothing is decoded yet."""
    # By its type alone: what claims to be a PNG never reaches another decoder.
    file = cast("IO[bytes]", data)  # as much of one as Pillow asks for
    name = media_type.removeprefix("image/").upper()
    image = Image.open(file, formats=plugins_of(name))
    check_pixels(subject, image.width, image.height, limits)
    return image


def upright_rgb(image: Image.Image) -> Image.Image:
    """Decode it: turned as its EXIF says, transparent parts white, 8 bits a colour."""
    image.load()
    turn = _TURNS.get(_orientation(image))
    image = _rgb(image)
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    # Any exception: the pixels are good, and nobody came for the EXIF data.
    except Exception:
        return None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return _scaled(image.convert("I"), 0, _MAX_16_BITS)
    if image.mode in ("I", "F"):
        return _scaled(image, *_range(image))
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    page = Image.new("RGB", image.size, _WHITE)
    page.paste(image, mask=image.getchannel("A"))
    return page


def _range(image: Image.Image) -> tuple[float, float]:
    """The values of a 32-bit image that mean black and white; nothing in it says."""
    # Of the one band; several would give a pair for each.
    low, high = cast("tuple[float, float]", image.getextrema())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UnreadableDocumentError("the image has values that are not numbers")
    usual = (1.0,) if image.mode == "F" else ()
    for most in (*usual, _MAX_8_BITS, _MAX_16_BITS):
        if low >= 0 and high <= most:
            return 0, most
    return low, high


def _scaled(image: Image.Image, low: float, high: float) -> Image.Image:
    factor = _MAX_8_BITS / (high - low) if high > low else 1.0
    offset = -low * factor
    gray = image.point(lambda value: value * factor + offset).convert("L")
    return gray.convert("RGB")
