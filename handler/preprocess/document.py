"""Entry points that inspect a document, decode its pages and crop images from them."""

from __future__ import annotations

import io
import mmap
import os
from dataclasses import replace

from PIL import Image

from handler.errors import UnreadableDocumentError
from handler.preprocess.decode_options import DecodeOptions
from handler.preprocess.faults import translate_errors
from handler.preprocess.image.decode import open_image
from handler.preprocess.image.frames import frames_warning
from handler.preprocess.image.tiff.frames import count_pages
from handler.preprocess.limits import Limits
from handler.preprocess.media import (
    HEAD_BYTES,
    PDF,
    TAIL_BYTES,
    TIFF,
    resolve_media_type,
)
from handler.preprocess.page.examine import examine, rotate_image
from handler.preprocess.pdf.render import draw_strip, inspect_pdf
from handler.preprocess.picture import decode_picture, divide_picture, name_page
from handler.preprocess.sizing import Size, target_size
from handler.profiles import Sizing
from handler.rotation import Box, turned_box, turned_size
from handler.sandbox.wire import Descriptor
from handler.schema import DocumentInfo, Page, PageWarning

__all__ = ["crop_images", "decode_page", "decode_strip", "inspect_document"]

_MAX_WEBP_SIDE = 16_383


def inspect_document(
    document: Descriptor,
    declared: str | None,
    limits: Limits,
    options: DecodeOptions = DecodeOptions(),
) -> DocumentInfo:
    """Return the media type, the number of pages and warnings about the document.

    No pixels are decoded. `declared` is the content type of the request. Raises
    UnsupportedMediaTypeError, UnreadableDocumentError, the password errors of a PDF,
    and DocumentTooLargeError for an image above the pixel limit. The frames of a
    multi-page TIFF are checked one by one in `decode_page`, so that a frame that is too
    large fails alone.
    """
    data = _map_document(document)
    media_type = resolve_media_type(
        declared, data[:HEAD_BYTES], data[max(0, len(data) - TAIL_BYTES) :]
    )
    warnings: tuple[PageWarning, ...] = ()
    with translate_errors("the document"):
        if media_type == PDF:
            num_pages, warnings = inspect_pdf(data, options.password)
            return DocumentInfo(media_type, num_pages, warnings)
        num_pages = _count_pages(data, media_type)
        if num_pages == 1:
            image = open_image("the image", data, media_type, limits)
            if media_type != TIFF:
                warnings = frames_warning(image)
    return DocumentInfo(media_type, num_pages, warnings)


def decode_page(
    document: Descriptor,
    media_type: str,
    number: int,
    sizing: Sizing,
    limits: Limits,
    options: DecodeOptions = DecodeOptions(),
) -> Page:
    """Decode page `number`, counted from 1, at the model's input size.

    A page that is too long to be legible at that size has strips instead of pixels.
    Decode them with `decode_strip`. Raises HandlerError if the page cannot be read.
    """
    data = _map_document(document)
    with translate_errors(name_page(media_type, number)):
        picture = decode_picture(data, media_type, number, sizing, limits, options)
        decoded = picture.decoded
        upright, rotation, is_blank, warnings, view = examine(decoded.image, options)
        division = divide_picture(picture, view, rotation, sizing)
        if division.strips:
            # Ink that is too small to be detected on the whole page may be detected
            # in a strip, so each strip decides by itself whether it is blank.
            is_blank, warnings = False, () if is_blank else warnings
        if not is_blank:
            warnings = (*warnings, *division.warnings)
        size = picture.turned_size(rotation, sizing)
        page = Page(
            number=number,
            width=decoded.width,
            height=decoded.height,
            pixel_width=size[0],
            pixel_height=size[1],
            pixels=b"",
            text_layer=picture.text,
            rotation=rotation,
            warnings=(*decoded.warnings, *warnings),
            strips=division.strips,
        )
        return page if page.strips else _with_pixels(page, upright, is_blank, sizing)


def decode_strip(
    document: Descriptor,
    media_type: str,
    page: Page,
    index: int,
    sizing: Sizing,
    limits: Limits,
    options: DecodeOptions = DecodeOptions(),
) -> Page:
    """Decode one strip of `page` as a page of its own, at the model's input size.

    `page` is the return value of `decode_page`, and `index` counts its strips from 0.
    The `width` and `height` of the result are those of the strip, in pixels of the
    page. A PDF page is rendered in the area of the strip only. An image is decoded
    again for each strip, so that only strips in flight occupy memory. Raises
    HandlerError if the strip cannot be read.
    """
    data = _map_document(document)
    strip = page.strips[index]
    text, rotation = "", page.rotation
    sides = turned_size(page.width, page.height, rotation)
    box = turned_box(strip.box, -rotation, *sides)
    with translate_errors(name_page(media_type, page.number)):
        if media_type == PDF:
            image, size, text = draw_strip(
                data, page.number, sizing, box, options.password
            )
            size = turned_size(*size, rotation)
        else:
            picture = decode_picture(
                data, media_type, page.number, sizing, limits, options
            )
            part = picture.crop(box)
            if part is None:
                raise UnreadableDocumentError("a strip of the page is empty")
            image, size = part, target_size(strip.width, strip.height, sizing)
        examined = examine(image, replace(options, detect_rotation=False))
        part_page = Page(
            number=page.number,
            width=strip.width,
            height=strip.height,
            pixel_width=size[0],
            pixel_height=size[1],
            pixels=b"",
            text_layer=text,
        )
        upright = rotate_image(examined.image, rotation)
        # A strip with a text layer is not blank, even if its text is too faint to be
        # detected as ink.
        is_blank = examined.is_blank and not text.strip()
        return _with_pixels(part_page, upright, is_blank, sizing)


def crop_images(
    document: Descriptor,
    media_type: str,
    number: int,
    sizing: Sizing,
    limits: Limits,
    boxes: dict[str, Box],
    options: DecodeOptions = DecodeOptions(),
    rotation: int = 0,
) -> dict[str, bytes]:
    """Crop boxes from page `number` and return them as WebP images by name.

    Boxes are (left, top, right, bottom) in pixels of the page, whose size is
    `Page.width` x `Page.height`. They are clipped to the page, and empty ones are left
    out. Each crop is rotated by `rotation` degrees clockwise, as the page was for the
    model. Crops of a very large image have half its resolution. Raises HandlerError if
    the page cannot be read.
    """
    data = _map_document(document)
    with translate_errors(name_page(media_type, number)):
        picture = decode_picture(data, media_type, number, sizing, limits, options)
    crops = {}
    for name, box in boxes.items():
        if (part := picture.crop(box)) is not None:
            crops[name] = _encode_webp(rotate_image(part, rotation))
    return crops


def _map_document(document: Descriptor) -> mmap.mmap:
    """Map the document into memory as a private copy-on-write mapping.

    The mapping is released when the last reference to it is dropped. Raises
    UnreadableDocumentError for an empty file.
    """
    if os.fstat(document).st_size == 0:
        raise UnreadableDocumentError("the document is empty")
    return mmap.mmap(document, 0, access=mmap.ACCESS_COPY)


def _count_pages(data: mmap.mmap, media_type: str) -> int:
    if media_type == TIFF:
        return count_pages(data)
    # Other formats have one page; `frames_warning` reports further frames.
    return 1


def _with_pixels(
    page: Page, image: Image.Image, is_blank: bool, sizing: Sizing
) -> Page:
    """Return `page` with the pixels of its upright `image`, resized if necessary.

    A blank page gets a single patch and the size of that patch.
    """
    size: Size = page.pixel_width, page.pixel_height
    if is_blank:
        # A blank page is not sent to the model, so one patch is enough.
        size = sizing.patch_grid, sizing.patch_grid
    if image.size != size:  # resize would copy an image of the right size
        image = image.resize(size, Image.Resampling.LANCZOS)
    return replace(
        page,
        pixel_width=size[0],
        pixel_height=size[1],
        pixels=image.tobytes(),
        is_blank=is_blank,
    )


def _encode_webp(image: Image.Image) -> bytes:
    """Encode an image as WebP. Reduces `image` itself if it is too large for WebP."""
    image.thumbnail((_MAX_WEBP_SIDE, _MAX_WEBP_SIDE))
    stream = io.BytesIO()
    image.save(stream, "WEBP")
    return stream.getvalue()
