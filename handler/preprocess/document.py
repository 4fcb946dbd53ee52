"""What a document holds, its pages one by one, and pictures cut out of them."""

from __future__ import annotations

import io
import mmap
import os
from dataclasses import replace

from PIL import Image

from handler.errors import UnreadableDocumentError
from handler.preprocess.decode_options import DecodeOptions
from handler.preprocess.faults import reading
from handler.preprocess.image import tiff
from handler.preprocess.image.decode import open_image
from handler.preprocess.image.frames import frames_warning
from handler.preprocess.limits import Limits
from handler.preprocess.media import (
    HEAD_BYTES,
    PDF,
    TAIL_BYTES,
    TIFF,
    agreed_media_type,
)
from handler.preprocess.page.examine import examine, turned
from handler.preprocess.pdf.render import draw_strip, inspect_pdf
from handler.preprocess.picture import decode_picture, divide_picture, subject_of
from handler.preprocess.sizing import Size, target_size
from handler.profiles import Sizing
from handler.rotation import Box, turned_box, turned_size
from handler.sandbox.wire import Descriptor
from handler.schema import DocumentInfo, Page, PageWarning

__all__ = ["crops_at", "inspect_document", "page_at", "strip_at"]

_MAX_WEBP_SIDE = 16_383


def inspect_document(
    document: Descriptor,
    declared: str | None,
    limits: Limits,
    options: DecodeOptions = DecodeOptions(),
) -> DocumentInfo:
    """Type and number of pages, before a pixel is decoded.

    An image over the limit is refused here. Of several TIFF frames each is
    judged by itself in `page_at`, so that one of them fails alone.
    """
    data = _mapped(document)
    media_type = agreed_media_type(
        declared, data[:HEAD_BYTES], data[max(0, len(data) - TAIL_BYTES) :]
    )
    warnings: tuple[PageWarning, ...] = ()
    with reading("the document"):
        if media_type == PDF:
            num_pages, warnings = inspect_pdf(data, options.password)
            return DocumentInfo(media_type, num_pages, warnings)
        num_pages = _num_pages(data, media_type)
        if num_pages == 1:
            image = open_image("the image", data, media_type, limits)
            if media_type != TIFF:
                warnings = frames_warning(image)
    return DocumentInfo(media_type, num_pages, warnings)


def page_at(
    document: Descriptor,
    media_type: str,
    number: int,
    sizing: Sizing,
    limits: Limits,
    options: DecodeOptions = DecodeOptions(),
) -> Page:
    """Page `number`, counted from 1, at the size the model sees it.

    A page that is too long to be legible at that size has strips instead of pixels.
    """
    data = _mapped(document)
    with reading(subject_of(media_type, number)):
        picture = decode_picture(data, media_type, number, sizing, limits, options)
        decoded = picture.decoded
        seen, rotation, is_blank, doubts, view = examine(decoded.image, options)
        division = divide_picture(picture, view, rotation, sizing)
        if division.strips:
            # Ink that is too small to be seen on the whole page is seen in them.
            is_blank, doubts = False, () if is_blank else doubts
        if not is_blank:
            doubts = (*doubts, *division.warnings)
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
            warnings=(*decoded.warnings, *doubts),
            strips=division.strips,
        )
        return page if page.strips else _with_pixels(page, seen, is_blank, sizing)


def strip_at(
    document: Descriptor,
    media_type: str,
    page: Page,
    index: int,
    sizing: Sizing,
    limits: Limits,
    options: DecodeOptions = DecodeOptions(),
) -> Page:
    """Return a strip of `page` as a page of its own, as the model sees it.

    `page` is what `page_at` returned, and `index` counts its strips from 0. `width`
    and `height` are those of the strip, in pixels of the page. A PDF is drawn there
    alone; an image is decoded anew for each of its strips, so that no more than the
    strips on their way to the model take memory.
    """
    data = _mapped(document)
    strip = page.strips[index]
    text, rotation = "", page.rotation
    sides = turned_size(page.width, page.height, rotation)
    box = turned_box(strip.box, -rotation, *sides)
    with reading(subject_of(media_type, page.number)):
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
        upright = turned(examined.image, rotation)
        # Text too faint to be told from paper counts where a PDF says what it is.
        is_blank = examined.is_blank and not text.strip()
        return _with_pixels(part_page, upright, is_blank, sizing)


def crops_at(
    document: Descriptor,
    media_type: str,
    number: int,
    sizing: Sizing,
    limits: Limits,
    boxes: dict[str, Box],
    options: DecodeOptions = DecodeOptions(),
    rotation: int = 0,
) -> dict[str, bytes]:
    """WebP pictures by name, cut from page `number` at `Page.width` x `Page.height`.

    Boxes are (left, top, right, bottom). What lies outside the page is left out,
    and so is a picture of which nothing remains. Pictures are turned by `rotation`
    degrees clockwise, as the page was for the model.
    """
    data = _mapped(document)
    with reading(subject_of(media_type, number)):
        picture = decode_picture(data, media_type, number, sizing, limits, options)
    crops = {}
    for name, box in boxes.items():
        if (part := picture.crop(box)) is not None:
            crops[name] = _webp(turned(part, rotation))
    return crops


def _mapped(document: Descriptor) -> mmap.mmap:
    """The document in memory, as a private copy that costs only what is changed.

    It is freed with its last user.
    """
    if os.fstat(document).st_size == 0:
        raise UnreadableDocumentError("the document is empty")
    return mmap.mmap(document, 0, access=mmap.ACCESS_COPY)


def _num_pages(data: mmap.mmap, media_type: str) -> int:
    if media_type == TIFF:
        return tiff.count_frames(data)
    # Further pictures of other formats are named in a warning.
    return 1


def _with_pixels(
    page: Page, image: Image.Image, is_blank: bool, sizing: Sizing
) -> Page:
    """Return the page with the pixels of its upright image."""
    size: Size = page.pixel_width, page.pixel_height
    if is_blank:
        # The model does not see it: the least that makes a page.
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


def _webp(image: Image.Image) -> bytes:
    image.thumbnail((_MAX_WEBP_SIDE, _MAX_WEBP_SIDE))
    stream = io.BytesIO()
    image.save(stream, "WEBP")
    return stream.getvalue()
