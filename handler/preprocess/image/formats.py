"""Opening of an image by its media type, with the decoder for that type only."""

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
from handler.preprocess.image.plugins import list_plugins
from handler.preprocess.limits import Limits, check_pixels
from handler.preprocess.media import HEIC, ICO

__all__ = ["import_all", "open_header", "tolerate_damage"]

# `check_pixels` replaces Pillow's limit. Its error names the limit.
Image.MAX_IMAGE_PIXELS = None
# One thread is enough, because the pool has one process per core.
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
"""Pillow's format name for each media type."""

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_DIB_SIZE = struct.Struct("<4xii")


def import_all() -> None:
    """Import the modules that decoders import on demand.

    Call it in a process that cannot open files later. Pillow imports its colour
    management, and its other plugins if none recognises an image. Python imports the
    codecs of text encodings.
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
    """Open an image without decoding it; of an icon, open its largest image.

    Raises DocumentTooLargeError above the pixel limit, UnreadableDocumentError for an
    empty image or a truncated icon, and the decoder's errors. The largest image of an
    icon may be decoded if it is not a PNG.
    """
    if media_type == HEIC:
        _register_heif()
    # Only the decoder of the detected type may open the file, which limits the code
    # that untrusted input can reach.
    image = Image.open(file, formats=list_plugins(_FORMATS[media_type]))
    check_pixels(subject, image.width, image.height, limits)
    if media_type == ICO:
        assert isinstance(image, IcoImagePlugin.IcoImageFile)
        return _open_largest_image(subject, image, file, limits)
    return image


@contextmanager
def tolerate_damage() -> Iterator[None]:
    """Let Pillow read damaged files within the context.

    Sets a flag of Pillow for the whole process, and clears it afterwards.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _register_heif() -> None:
    """Import and register the HEIF decoder; takes 20 ms the first time."""
    heif = importlib.import_module("pillow_heif")
    heif.register_heif_opener(
        decode_threads=1, thumbnails=False, depth_images=False, aux_images=False
    )


def _open_largest_image(
    subject: str, icon: IcoImagePlugin.IcoImageFile, file: IO[bytes], limits: Limits
) -> Image.Image:
    """Open the largest image of an icon.

    Its size is checked again, because its own header may differ from the icon's.
    """
    largest = icon.ico.entry[0]
    file.seek(largest.offset)
    content = file.read(largest.size)
    if content.startswith(_PNG_MAGIC):
        return open_header(subject, BytesIO(content), "image/png", limits)
    if len(content) < _DIB_SIZE.size:
        raise UnreadableDocumentError(f"{subject} ends before its largest image")
    width, height = _DIB_SIZE.unpack_from(content)
    # The height in the header covers the image and its transparency mask.
    check_pixels(subject, width, abs(height) // 2, limits)
    return icon.ico.frame(0)
