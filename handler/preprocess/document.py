"""What a document holds, its pages one by one, and pictures cut out of them."""

from __future__ import annotations

import io
import mmap
import os

from PIL import Image

from handler.errors import UnreadableDocumentError
from handler.preprocess.decode_options import DecodeOptions
from handler.preprocess.faults import reading
from handler.preprocess.image import tiff
from handler.preprocess.image.decode import open_image, upright_rgb
from handler.preprocess.limits import Limits
from handler.preprocess.media import HEAD_BYTES, PDF, TIFF, agreed_media_type
from handler.preprocess.page.examine import examine, turned
from handler.preprocess.pdf.render import count_pages, draw_page, text_layer
from handler.preprocess.sizing import Size, check_shape, target_size
from handler.profiles import Sizing
from handler.sandbox.wire import Descriptor
from handler.schema import DocumentInfo, Page

__all__ = ["crops_at", "inspect_document", "page_at"]

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
        image, size = _picture(data, media_type, number, sizing, limits)
        width, height = image.size
        image, rotation, is_blank, warnings = examine(image, options)
        if is_blank:
            # The model does not see it: the least that makes a page.
            size = (sizing.patch_grid, sizing.patch_grid)
        elif rotation % 180 and media_type == PDF:
            size = (size[1], size[0])
        elif rotation % 180:
            size = target_size(image.width, image.height, sizing)
        seen = image.resize(size, Image.Resampling.LANCZOS)
        return Page(
            number=number,
            width=width,
            height=height,
            pixel_width=seen.width,
            pixel_height=seen.height,
            pixels=seen.tobytes(),
            text_layer=text_layer(data, number) if media_type == PDF else "",
            rotation=rotation,
            is_blank=is_blank,
            warnings=warnings,
        )


def crops_at(
    document: Descriptor,
    media_type: str,
    number: int,
    sizing: Sizing,
    limits: Limits,
    boxes: dict[str, tuple[int, int, int, int]],
    options: DecodeOptions = DecodeOptions(),
    rotation: int = 0,
) -> dict[str, bytes]:
    """WebP pictures by name, cut from page `number` at `Page.width` x `Page.height`.

    Boxes are (left, top, right, bottom). What lies outside the page is left out,
    and so is a picture of which nothing remains. Pictures are turned by `rotation`
    degrees clockwise, as the page was for the model.
    """
    data = _mapped(document)
    with reading(_subject(media_type, number)):
        image, _ = _picture(data, media_type, number, sizing, limits)
    crops = {}
    for name, (left, top, right, bottom) in boxes.items():
        box = (
            max(left, 0),
            max(top, 0),
            min(right, image.width),
            min(bottom, image.height),
        )
        if box[0] < box[2] and box[1] < box[3]:
            crops[name] = _webp(turned(image.crop(box), rotation))
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
) -> tuple[Image.Image, Size]:
    """The page as the caller knows it, and the size at which the model sees it."""
    if media_type == PDF:
        return draw_page(data, number, sizing)
    if media_type == TIFF:
        tiff.show_frame(data, number)
    subject = _subject(media_type, number)
    header = open_image(subject, data, media_type, limits)
    # Decoding 1 x 100,000,000 pixels takes 20 s and 2 GB.
    check_shape(header.width, header.height, sizing)
    image = upright_rgb(header)
    return image, target_size(image.width, image.height, sizing)


def _subject(media_type: str, number: int) -> str:
    return f"page {number}" if media_type in (PDF, TIFF) else "the image"


def _webp(image: Image.Image) -> bytes:
    image.thumbnail((_MAX_WEBP_SIDE, _MAX_WEBP_SIDE))
    stream = io.BytesIO()
    image.save(stream, "WEBP")
    return stream.getvalue()
