"""Decoding of a page at its original resolution, and its division into strips."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from mmap import mmap

from PIL import Image

from handler.preprocess.decode_options import DecodeOptions
from handler.preprocess.image.decode import DecodedImage, decode, open_image
from handler.preprocess.image.tiff.frames import set_first_page
from handler.preprocess.limits import Limits
from handler.preprocess.media import PDF, TIFF
from handler.preprocess.page.examine import rotate_image
from handler.preprocess.page.line_height import (
    measure_ink_profile,
    measure_line_height,
    measure_line_height_in_windows,
)
from handler.preprocess.page.strips import (
    Division,
    PartSize,
    divide_page,
    is_long,
    iter_chunk_boxes,
    iter_window_boxes,
    needs_examination,
    reduction_warning,
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

__all__ = ["Picture", "decode_picture", "divide_picture", "name_page"]

_EXAMINED_SIDE = 1024
"""Pixels to which the short side is reduced before the text lines are measured."""
_WINDOW_SIDE = 640
"""Side in pixels of the windows in which text lines are measured at full size."""

_DrawParts = Callable[[Iterable[Box], float], Iterator[Image.Image]]


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded page at its original resolution."""

    decoded: DecodedImage
    size: Size
    """The model's input size for the page without rotation."""
    points_scale: float | None = None
    """Pixels per point of a PDF page; None for an image."""
    draw_parts: _DrawParts | None = None
    """Function that renders parts of a PDF page in gray, enlarged by a factor; None for
    an image."""
    text: str = ""
    """The text layer of a PDF page."""

    def turned_size(self, rotation: int, sizing: Sizing) -> Size:
        """Return the model's input size for the page after a rotation in degrees."""
        if self.points_scale is not None or rotation % 180 == 0:
            return turned_size(*self.size, rotation)
        return target_size(self.decoded.height, self.decoded.width, sizing)

    def natural_scale(self, sizing: Sizing) -> float:
        """Return the scale that the page would have if the model's input had no limits.

        It is the factor from page pixels to pixels of the model's input. The minimum of
        the short side applies, but no bound on the long side or area.
        """
        width, height = self.decoded.width, self.decoded.height
        if (scale := self.points_scale) is None:
            return image_scale(width, height, sizing)
        return pdf_full_scale(width / scale, height / scale, sizing) / scale

    def make_part_size_function(self, sizing: Sizing) -> PartSize:
        """Return a function that maps the size of a part to the model's input size."""
        if (scale := self.points_scale) is None:
            return lambda width, height: target_size(width, height, sizing)
        return lambda width, height: pdf_target_size(
            width / scale, height / scale, sizing
        )

    def crop(self, box: Box) -> Image.Image | None:
        """Crop a part of the decoded image; None if the box is outside the page.

        `box` is in pixels of the page. A very large image is decoded at half its size,
        and the crop has half its size too.
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
    """Decode page `number`, counted from 1, at its original resolution.

    Very large images are decoded at half their size; PDF pages are not. For a TIFF,
    overwrites the header of `data`, a private mapping, so that the page comes first.
    Raises HandlerError, or the decoder's error for a damaged document.
    """
    if media_type == PDF:
        drawn = draw_page(data, number, sizing, options.password)
        image = drawn.image
        return Picture(
            DecodedImage(image, image.width, image.height, drawn.warnings),
            drawn.size,
            drawn.scale,
            partial(draw_parts, data, number, drawn.scale, password=options.password),
            drawn.text,
        )
    if media_type == TIFF:
        set_first_page(data, number)
    subject = name_page(media_type, number)
    header = open_image(subject, data, media_type, limits)
    # Check the shape first: decoding 1 x 100,000,000 pixels takes 20 s and 2 GB.
    check_aspect(header.width, header.height)
    decoded = decode(header, subject, data, media_type, limits)
    return Picture(decoded, target_size(decoded.width, decoded.height, sizing))


def divide_picture(
    picture: Picture, upright: Image.Image, rotation: int, sizing: Sizing
) -> Division:
    """Divide a page into strips if its text would be too small in the model's input.

    `upright` is the image of the page after a rotation by `rotation` degrees clockwise.
    Strips are in pixels of the rotated page. The result may have warnings and no
    strips. Renders further parts of a PDF page if its text must be measured.
    """
    width, height = turned_size(picture.decoded.width, picture.decoded.height, rotation)
    size = picture.turned_size(rotation, sizing)
    natural_scale = picture.natural_scale(sizing)
    is_drawn = picture.draw_parts is not None
    if not needs_examination(width, height, natural_scale, size):
        return Division()
    # The number of page pixels per image pixel.
    page_pixels = width / upright.width
    if not is_long(width, height):
        lines = (
            _measure_lines_at_full_size(upright, page_pixels) if not is_drawn else None
        )
        if lines is None and (coarse := measure_line_height(upright)) is not None:
            lines = coarse * page_pixels
        if lines is None and picture.draw_parts is not None:
            # The lines may be too small at this size: render parts of the PDF page
            # again at a larger one.
            boxes = iter_window_boxes(
                width, height, math.ceil(_WINDOW_SIDE / natural_scale)
            )
            parts = _draw_upright_parts(
                picture.draw_parts, boxes, (width, height), rotation, natural_scale
            )
            lines = measure_line_height_in_windows(parts, 1 / natural_scale)
        warnings = reduction_warning(
            width, height, size, sizing, natural_scale, lines, is_drawn
        )
        return Division(warnings=warnings)
    if picture.draw_parts is not None:
        zoom = min(natural_scale, _EXAMINED_SIDE / min(width, height))
        step = 1 / zoom
        boxes = iter_chunk_boxes(width, height)
        chunks = _draw_upright_parts(
            picture.draw_parts, boxes, (width, height), rotation, zoom
        )
    else:
        factor = max(1, math.floor(min(upright.size) / _EXAMINED_SIDE))
        step = factor * page_pixels
        chunks = (
            upright.reduce(factor, box=box).convert("L")
            for box in iter_chunk_boxes(*upright.size, factor)
        )
    ink = measure_ink_profile(chunks, step, is_wide=width > height)
    if (
        not is_drawn
        and (lines := _measure_lines_at_full_size(upright, page_pixels)) is not None
    ):
        ink = replace(ink, line_height=lines)
    return divide_page(
        width,
        height,
        size,
        sizing,
        natural_scale,
        ink,
        picture.make_part_size_function(sizing),
        is_drawn,
    )


def _measure_lines_at_full_size(
    upright: Image.Image, page_pixels: float
) -> float | None:
    """Return the height of text lines in windows of a large image, at full size.

    Lines of few pixels merge when the image is reduced. `page_pixels` is the number of
    page pixels per image pixel; the result is in page pixels. Returns None for an image
    that is not large, and where too few lines are found.
    """
    if min(upright.size) < 2 * _EXAMINED_SIDE:
        return None
    boxes = iter_window_boxes(*upright.size, _WINDOW_SIDE)
    return measure_line_height_in_windows(
        (upright.crop(box).convert("L") for box in boxes), page_pixels
    )


def _draw_upright_parts(
    draw: _DrawParts, boxes: Iterable[Box], size: Size, rotation: int, zoom: float
) -> Iterator[Image.Image]:
    """Render parts of a PDF page upright.

    `boxes` and `size`, the size of the page, refer to the page after its rotation.
    """
    drawn = draw((turned_box(box, -rotation, *size) for box in boxes), zoom)
    return (rotate_image(part, rotation) for part in drawn)


def name_page(media_type: str, number: int) -> str:
    """Return the name of a page in error messages: "page 3", or "the image"."""
    return f"page {number}" if media_type in (PDF, TIFF) else "the image"
