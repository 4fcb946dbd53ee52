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
from handler.preprocess.image.decode import Decoded, decode, open_image
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
from handler.preprocess.pdf.render import draw_page, inspect_pdf, text_and_warnings
from handler.preprocess.sizing import Size, check_shape, target_size
from handler.profiles import Sizing
from handler.sandbox.wire import Descriptor
from handler.schema import DocumentInfo, Page, PageWarning

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
    """Page `number`, counted from 1, at the size the model sees it."""
    data = _mapped(document)
    with reading(_subject(media_type, number)):
        picture, size = _picture(data, media_type, number, sizing, limits, options)
        text, warnings = "", picture.warnings
        if media_type == PDF:
            text, doubts = text_and_warnings(
                data, number, picture.image, options.password
            )
            warnings = (*warnings, *doubts)
        seen, rotation, is_blank, doubts = examine(picture.image, options)
        if is_blank:
            # The model does not see it: the least that makes a page.
            size = (sizing.patch_grid, sizing.patch_grid)
        elif rotation % 180 and media_type == PDF:
            size = (size[1], size[0])
        elif rotation % 180:
            size = target_size(picture.height, picture.width, sizing)
        if seen.size != size:  # resize would copy an image of the right size
            seen = seen.resize(size, Image.Resampling.LANCZOS)
        return Page(
            number=number,
            width=picture.width,
            height=picture.height,
            pixel_width=seen.width,
            pixel_height=seen.height,
            pixels=seen.tobytes(),
            text_layer=text,
            rotation=rotation,
            is_blank=is_blank,
            warnings=(*warnings, *doubts),
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
        picture, _ = _picture(data, media_type, number, sizing, limits, options)
    image = picture.image
    # A very large image is decoded at half its size.
    scale_x = image.width / picture.width
    scale_y = image.height / picture.height
    crops = {}
    for name, (left, top, right, bottom) in boxes.items():
        box = (
            round(max(left, 0) * scale_x),
            round(max(top, 0) * scale_y),
            round(min(right, picture.width) * scale_x),
            round(min(bottom, picture.height) * scale_y),
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
    if media_type == TIFF:
        return tiff.count_frames(data)
    # Further pictures of other formats are named in a warning.
    return 1


def _picture(
    data: mmap.mmap,
    media_type: str,
    number: int,
    sizing: Sizing,
    limits: Limits,
    options: DecodeOptions,
) -> tuple[Decoded, Size]:
    """Return the page as the caller knows it and the size at which the model sees it.

    PDF pages are never halved, so their image has the page's size.
    """
    if media_type == PDF:
        drawn, size, warnings = draw_page(data, number, sizing, options.password)
        return Decoded(drawn, drawn.width, drawn.height, warnings), size
    if media_type == TIFF:
        tiff.show_frame(data, number)
    subject = _subject(media_type, number)
    header = open_image(subject, data, media_type, limits)
    # Decoding 1 x 100,000,000 pixels takes 20 s and 2 GB.
    check_shape(header.width, header.height, sizing)
    decoded = decode(header, subject, data, media_type, limits)
    return decoded, target_size(decoded.width, decoded.height, sizing)


def _subject(media_type: str, number: int) -> str:
    return f"page {number}" if media_type in (PDF, TIFF) else "the image"


def _webp(image: Image.Image) -> bytes:
    image.thumbnail((_MAX_WEBP_SIDE, _MAX_WEBP_SIDE))
    stream = io.BytesIO()
    image.save(stream, "WEBP")
    return stream.getvalue()
