"""What a document holds, its pages one by one, and pictures cut out of them."""

from __future__ import annotations

import io
import math
import mmap
import os
from dataclasses import dataclass, replace

from PIL import Image

from handler.errors import UnreadableDocumentError
from handler.preprocess.decode_options import DecodeOptions
from handler.preprocess.faults import reading
from handler.preprocess.image import tiff
from handler.preprocess.image.decode import open_image, upright_rgb
from handler.preprocess.limits import Limits
from handler.preprocess.media import HEAD_BYTES, PDF, TIFF, agreed_media_type
from handler.preprocess.page.lines import examine_ink, line_height_of
from handler.preprocess.page.strips import (
    Division,
    PartSize,
    chunk_boxes,
    divide,
    is_long,
    needs_examination,
    reduced_warning,
)
from handler.preprocess.pdf.render import (
    count_pages,
    draw_page,
    draw_parts,
    draw_strip,
    text_layer,
)
from handler.preprocess.sizing import (
    Size,
    check_aspect,
    image_scale,
    pdf_full_scale,
    pdf_target_size,
    target_size,
)
from handler.profiles import Sizing
from handler.sandbox.wire import Descriptor
from handler.schema import DocumentInfo, Page, Strip

__all__ = ["crops_at", "inspect_document", "page_at", "strip_at"]

_MAX_WEBP_SIDE = 16_383
_EXAMINED_SIDE = 1024
"""Pixels to which the short side of a page is reduced before its lines are measured."""


@dataclass(frozen=True, slots=True)
class _Picture:
    """The page as the caller knows it, and the size at which the model sees it."""

    image: Image.Image
    size: Size
    points_scale: float | None = None
    """Pixels for each point of a PDF page; None for an image."""

    def natural_scale(self, sizing: Sizing) -> float:
        """Return the scale at which the model would see it if it were smaller."""
        if (scale := self.points_scale) is None:
            return image_scale(self.image.width, self.image.height, sizing)
        width, height = self.image.width / scale, self.image.height / scale
        return pdf_full_scale(width, height, sizing) / scale

    def part_size(self, sizing: Sizing) -> PartSize:
        """Return how large the model sees a part of the page."""
        if (scale := self.points_scale) is None:
            return lambda width, height: target_size(width, height, sizing)
        return lambda width, height: pdf_target_size(
            width / scale, height / scale, sizing
        )


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
    media_type = agreed_media_type(declared, data[:HEAD_BYTES])
    with reading("the document"):
        num_pages = _num_pages(data, media_type)
        if num_pages == 1 and media_type != PDF:
            open_image("the image", data, media_type, limits)
    return DocumentInfo(media_type=media_type, num_pages=num_pages)


def page_at(
    document: Descriptor,
    media_type: str,
    number: int,
    sizing: Sizing,
    limits: Limits,
    options: DecodeOptions = DecodeOptions(),
) -> Page:
    """Page `number`, counted from 1, at the size the model sees it."""
    data = _mapped(document)
    with reading(_subject(media_type, number)):
        picture = _picture(data, media_type, number, sizing, limits)
        page = Page(
            number=number,
            width=picture.image.width,
            height=picture.image.height,
            pixel_width=picture.size[0],
            pixel_height=picture.size[1],
            pixels=b"",
        )
        division = _division(data, number, picture, sizing)
        page = replace(page, warnings=page.warnings + division.warnings)
        if division.strips:
            return replace(page, strips=division.strips)
        return replace(
            page,
            pixels=_pixels(picture.image, picture.size),
            text_layer=text_layer(data, number) if media_type == PDF else "",
        )


def strip_at(
    document: Descriptor,
    media_type: str,
    number: int,
    strip: Strip,
    sizing: Sizing,
    limits: Limits,
    options: DecodeOptions = DecodeOptions(),
) -> Page:
    """Return a strip of page `number` as a page of its own, as the model sees it.

    `width` and `height` are those of the strip, in pixels of the page. A PDF is drawn
    there alone; an image is decoded anew for each of its strips, so that no more than
    the strips on their way to the model take memory.
    """
    data = _mapped(document)
    text = ""
    with reading(_subject(media_type, number)):
        if media_type == PDF:
            image, size = draw_strip(data, number, sizing, strip.box)
            text = text_layer(data, number, sizing, strip.box)
        else:
            picture = _picture(data, media_type, number, sizing, limits)
            image = picture.image.crop(strip.box)
            size = target_size(image.width, image.height, sizing)
        return Page(
            number=number,
            width=strip.width,
            height=strip.height,
            pixel_width=size[0],
            pixel_height=size[1],
            pixels=_pixels(image, size),
            text_layer=text,
        )


def crops_at(
    document: Descriptor,
    media_type: str,
    number: int,
    sizing: Sizing,
    limits: Limits,
    boxes: dict[str, tuple[int, int, int, int]],
    options: DecodeOptions = DecodeOptions(),
) -> dict[str, bytes]:
    """WebP pictures by name, cut from page `number` at `Page.width` x `Page.height`.

    Boxes are (left, top, right, bottom). What lies outside the page is left out,
    and so is a picture of which nothing remains.
    """
    data = _mapped(document)
    with reading(_subject(media_type, number)):
        image = _picture(data, media_type, number, sizing, limits).image
    crops = {}
    for name, (left, top, right, bottom) in boxes.items():
        box = (
            max(left, 0),
            max(top, 0),
            min(right, image.width),
            min(bottom, image.height),
        )
        if box[0] < box[2] and box[1] < box[3]:
            crops[name] = _webp(image.crop(box))
    return crops


def _mapped(document: Descriptor) -> mmap.mmap:
    """The document in memory, as a private copy that costs only what is changed.

    It is freed with its last user.
    """
    if os.fstat(document).st_size == 0:
        raise UnreadableDocumentError("the document is empty")
    return mmap.mmap(document, 0, access=mmap.ACCESS_COPY)


def _num_pages(data: mmap.mmap, media_type: str) -> int:
    if media_type == PDF:
        return count_pages(data)
    if media_type == TIFF:
        return tiff.count_frames(data)
    # Of animations and of JPEGs with a second picture, the first one.
    return 1


def _picture(
    data: mmap.mmap, media_type: str, number: int, sizing: Sizing, limits: Limits
) -> _Picture:
    if media_type == PDF:
        return _Picture(*draw_page(data, number, sizing))
    if media_type == TIFF:
        tiff.show_frame(data, number)
    subject = _subject(media_type, number)
    header = open_image(subject, data, media_type, limits)
    # Decoding 1 x 100,000,000 pixels takes 20 s and 2 GB.
    check_aspect(header.width, header.height)
    image = upright_rgb(header)
    return _Picture(image, target_size(image.width, image.height, sizing))


def _pixels(image: Image.Image, size: Size) -> bytes:
    return image.resize(size, Image.Resampling.LANCZOS).tobytes()


def _division(
    data: mmap.mmap, number: int, picture: _Picture, sizing: Sizing
) -> Division:
    """Return the strips of a page whose text would be too small, and warnings."""
    width, height = picture.image.size
    natural = picture.natural_scale(sizing)
    if not needs_examination(width, height, natural, picture.size):
        return Division()
    if not is_long(width, height):
        lines = line_height_of(picture.image)
        return Division(
            (), reduced_warning(width, height, picture.size, sizing, natural, lines)
        )
    zoom = _EXAMINED_SIDE / min(width, height)
    if picture.points_scale is not None:
        zoom = min(zoom, natural)
        boxes = chunk_boxes(width, height)
        chunks = draw_parts(data, number, picture.points_scale, boxes, zoom)
    else:
        step = max(1, math.floor(1 / zoom))
        zoom = 1 / step
        boxes = chunk_boxes(width, height, step)
        chunks = (picture.image.reduce(step, box=box).convert("L") for box in boxes)
    ink = examine_ink(chunks, 1 / zoom, is_wide=width > height)
    return divide(
        width, height, picture.size, sizing, natural, ink, picture.part_size(sizing)
    )


def _subject(media_type: str, number: int) -> str:
    return f"page {number}" if media_type in (PDF, TIFF) else "the image"


def _webp(image: Image.Image) -> bytes:
    image.thumbnail((_MAX_WEBP_SIDE, _MAX_WEBP_SIDE))
    stream = io.BytesIO()
    image.save(stream, "WEBP")
    return stream.getvalue()
