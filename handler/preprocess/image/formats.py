"""Open an image by its media type, with the decoder for that type only."""

from __future__ import annotations

import codecs
import importlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO

from PIL import AvifImagePlugin, IcoImagePlugin, Image, ImageFile

from handler.errors import UnreadableDocumentError
from handler.preprocess.image.plugins import plugins_of
from handler.preprocess.limits import Limits, check_pixels
from handler.preprocess.media import HEIC, ICO

__all__ = ["import_all", "open_header", "tolerate_damage"]

# Our own limit is checked on the header and names its number.
Image.MAX_IMAGE_PIXELS = None
# The pool has one process for each core that decoders may use.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

_FORMATS = {
    "image/bmp": "BMP",
    "image/gif": "GIF",
    "image/jp2": "JPEG2000",
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/tiff": "TIFF",
    "image/vnd.microsoft.icon": "ICO",
    "image/webp": "WEBP",
    "image/avif": "AVIF",
    "image/heic": "HEIF",
    "image/x-portable-anymap": "PPM",
    "image/x-tga": "TGA",
}
"""Pillow's name of each media type's format."""

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_DIB_SIZE = struct.Struct("<4xii")


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
    _register_heif()


def open_header(
    subject: str, file: IO[bytes], media_type: str, limits: Limits
) -> Image.Image:
    """Open an image without decoding it. Raises DocumentTooLargeError.

    Of an icon's pictures, the largest is opened.
    """
    if media_type == HEIC:
        _register_heif()
    # By its type alone: what claims to be a PNG never reaches another decoder.
    image = Image.open(file, formats=plugins_of(_FORMATS[media_type]))
    check_pixels(subject, image.width, image.height, limits)
    if media_type == ICO:
        assert isinstance(image, IcoImagePlugin.IcoImageFile)
        return _largest_picture(subject, image, file, limits)
    return image


@contextmanager
def tolerate_damage() -> Iterator[None]:
    """Let Pillow read damaged files; the flag is global, so reset it afterwards."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _register_heif() -> None:
    """Register the HEIF decoder, whose libraries take 20 ms to load."""
    heif = importlib.import_module("pillow_heif")
    heif.register_heif_opener(
        decode_threads=1, thumbnails=False, depth_images=False, aux_images=False
    )


def _largest_picture(
    subject: str, icon: IcoImagePlugin.IcoImageFile, file: IO[bytes], limits: Limits
) -> Image.Image:
    """Open an icon's largest picture, whose own header may differ from the icon's."""
    largest = icon.ico.entry[0]
    file.seek(largest.offset)
    content = file.read(largest.size)
    if content.startswith(_PNG_MAGIC):
        return open_header(subject, BytesIO(content), "image/png", limits)
    if len(content) < _DIB_SIZE.size:
        raise UnreadableDocumentError(f"{subject} ends before its largest picture")
    width, height = _DIB_SIZE.unpack_from(content)
    # The height covers the picture and its transparency mask.
    check_pixels(subject, width, abs(height) // 2, limits)
    return icon.ico.frame(0)
