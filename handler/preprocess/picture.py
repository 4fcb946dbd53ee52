"""Decode a page at the caller's resolution, and divide it if the model needs that."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from mmap import mmap

from PIL import Image

from handler.preprocess.decode_options import DecodeOptions
from handler.preprocess.image import tiff
from handler.preprocess.image.decode import Decoded, decode, open_image
from handler.preprocess.limits import Limits
from handler.preprocess.media import PDF, TIFF
from handler.preprocess.page.examine import turned
from handler.preprocess.page.line_height import (
    examine_ink,
    line_height_in,
    line_height_of,
)
from handler.preprocess.page.strips import (
    Division,
    PartSize,
    chunk_boxes,
    divide,
    is_long,
    needs_examination,
    reduced_warning,
    window_boxes,
)
from handler.preprocess.pdf.render import draw_page, draw_parts
from handler.preprocess.sizing import (
    Size,
    check_aspect,
    image_scale,
    pdf_full_scale,
    pdf_target_size,
    target_size,
)
from handler.profiles import Sizing
from handler.rotation import Box, turned_box, turned_size

__all__ = ["Picture", "decode_picture", "divide_picture", "subject_of"]

_EXAMINED_SIDE = 1024
"""Pixels to which the short side of a page is reduced before its lines are measured."""
_WINDOW_SIDE = 640
"""Pixels of the parts of a page in which lines are measured at full size."""

_Draw = Callable[[Iterable[Box], float], Iterator[Image.Image]]


@dataclass(frozen=True, slots=True)
class Picture:
    """A page as the caller knows it."""

    decoded: Decoded
    size: Size
    """The size at which the model sees the page as it is."""
    points_scale: float | None = None
    """Pixels for each point of a PDF page; None for an image."""
    draw: _Draw | None = None
    """Draws parts of a PDF page in gray, enlarged by a factor; None for an image."""
    text: str = ""
    """The text that a PDF page carries."""

    def turned_size(self, rotation: int, sizing: Sizing) -> Size:
        """Return the size at which the model sees the page once it is turned."""
        if self.points_scale is not None or rotation % 180 == 0:
            return turned_size(*self.size, rotation)
        return target_size(self.decoded.height, self.decoded.width, sizing)

    def natural_scale(self, sizing: Sizing) -> float:
        """Return the scale at which the model would see it if it were smaller."""
        width, height = self.decoded.width, self.decoded.height
        if (scale := self.points_scale) is None:
            return image_scale(width, height, sizing)
        return pdf_full_scale(width / scale, height / scale, sizing) / scale

    def part_size(self, sizing: Sizing) -> PartSize:
        """Return how large the model sees a part of the page."""
        if (scale := self.points_scale) is None:
            return lambda width, height: target_size(width, height, sizing)
        return lambda width, height: pdf_target_size(
            width / scale, height / scale, sizing
        )

    def crop(self, box: Box) -> Image.Image | None:
        """Return a part of the decoded image; None if nothing of it is on the page.

        `box` is in pixels of the page. A very large image is decoded at half its size,
        and so is the part.
        """
        image = self.decoded.image
        width, height = self.decoded.width, self.decoded.height
        left, top, right, bottom = box
        inner = (
            round(max(left, 0) * image.width / width),
            round(max(top, 0) * image.height / height),
            round(min(right, width) * image.width / width),
            round(min(bottom, height) * image.height / height),
        )
        is_empty = inner[0] >= inner[2] or inner[1] >= inner[3]
        return None if is_empty else image.crop(inner)


def decode_picture(
    data: mmap,
    media_type: str,
    number: int,
    sizing: Sizing,
    limits: Limits,
    options: DecodeOptions,
) -> Picture:
    """Decode page `number`, counted from 1.

    PDF pages are never halved, so their image has the page's size.
    """
    if media_type == PDF:
        drawn = draw_page(data, number, sizing, options.password)
        image = drawn.image
        return Picture(
            Decoded(image, image.width, image.height, drawn.warnings),
            drawn.size,
            drawn.scale,
            partial(draw_parts, data, number, drawn.scale, password=options.password),
            drawn.text,
        )
    if media_type == TIFF:
        tiff.show_frame(data, number)
    subject = subject_of(media_type, number)
    header = open_image(subject, data, media_type, limits)
    # Decoding 1 x 100,000,000 pixels takes 20 s and 2 GB.
    check_aspect(header.width, header.height)
    decoded = decode(header, subject, data, media_type, limits)
    return Picture(decoded, target_size(decoded.width, decoded.height, sizing))


def divide_picture(
    picture: Picture, upright: Image.Image, rotation: int, sizing: Sizing
) -> Division:
    """Return the strips of a page whose text would be too small, and warnings.

    `upright` is the page's image after it was turned by `rotation` degrees clockwise.
    Strips are in pixels of the page after that turn.
    """
    width, height = turned_size(picture.decoded.width, picture.decoded.height, rotation)
    size = picture.turned_size(rotation, sizing)
    natural = picture.natural_scale(sizing)
    is_drawn = picture.draw is not None
    if not needs_examination(width, height, natural, size):
        return Division()
    # Pixels of the page for each pixel of the image.
    page_pixels = width / upright.width
    if not is_long(width, height):
        lines = _height_in_windows(upright, page_pixels) if not is_drawn else None
        if lines is None and (coarse := line_height_of(upright)) is not None:
            lines = coarse * page_pixels
        if lines is None and picture.draw is not None:
            # PDF pages are drawn again, larger than they were.
            boxes = window_boxes(width, height, math.ceil(_WINDOW_SIDE / natural))
            parts = _upright_parts(
                picture.draw, boxes, (width, height), rotation, natural
            )
            lines = line_height_in(parts, 1 / natural)
        warnings = reduced_warning(
            width, height, size, sizing, natural, lines, is_drawn
        )
        return Division(warnings=warnings)
    if picture.draw is not None:
        zoom = min(natural, _EXAMINED_SIDE / min(width, height))
        step = 1 / zoom
        boxes = chunk_boxes(width, height)
        chunks = _upright_parts(picture.draw, boxes, (width, height), rotation, zoom)
    else:
        factor = max(1, math.floor(min(upright.size) / _EXAMINED_SIDE))
        step = factor * page_pixels
        chunks = (
            upright.reduce(factor, box=box).convert("L")
            for box in chunk_boxes(*upright.size, factor)
        )
    ink = examine_ink(chunks, step, is_wide=width > height)
    if not is_drawn and (lines := _height_in_windows(upright, page_pixels)) is not None:
        ink = replace(ink, line_height=lines)
    return divide(
        width, height, size, sizing, natural, ink, picture.part_size(sizing), is_drawn
    )


def _height_in_windows(upright: Image.Image, page_pixels: float) -> float | None:
    """Measure lines in parts of an image that is otherwise reduced for that.

    Lines of few pixels run into each other once they are reduced. `page_pixels` is the
    number of pixels of the page, in which the result is, for each one of the image.
    """
    if min(upright.size) < 2 * _EXAMINED_SIDE:
        return None
    boxes = window_boxes(*upright.size, _WINDOW_SIDE)
    return line_height_in(
        (upright.crop(box).convert("L") for box in boxes), page_pixels
    )


def _upright_parts(
    draw: _Draw, boxes: Iterable[Box], size: Size, rotation: int, zoom: float
) -> Iterator[Image.Image]:
    """Draw parts of a PDF page upright, where `boxes` and the page `size` are too."""
    drawn = draw((turned_box(box, -rotation, *size) for box in boxes), zoom)
    return (turned(part, rotation) for part in drawn)


def subject_of(media_type: str, number: int) -> str:
    """Return what an error calls a page."""
    return f"page {number}" if media_type in (PDF, TIFF) else "the image"
