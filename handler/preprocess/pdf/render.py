"""Draw a page of a PDF as a viewer would show it, and read its text, by pdfium.

pdfium is not thread safe. The processes this runs in have one thread.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from mmap import mmap
from typing import NamedTuple

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from handler.errors import UnreadableDocumentError
from handler.preprocess.pdf.annotations import page_with_annotations
from handler.preprocess.pdf.fonts import FontChoice, choose_fonts, installed_mapper
from handler.preprocess.pdf.kind import kind_warnings
from handler.preprocess.pdf.opened import opened
from handler.preprocess.pdf.undrawn import undrawn_warnings
from handler.preprocess.pdf.visible_text import not_drawn_warnings
from handler.preprocess.sizing import (
    Size,
    check_aspect,
    pdf_render_scale,
    pdf_render_size,
    pdf_target_size,
)
from handler.profiles import Sizing
from handler.rotation import Box
from handler.schema import PageWarning

__all__ = [
    "DrawnPage",
    "draw_page",
    "draw_parts",
    "draw_strip",
    "inspect_pdf",
    "text_layer",
]

MAX_TEXT_CHARACTERS = 100_000
"""A page of small print has 20,000."""

Warnings = tuple[PageWarning, ...]


class DrawnPage(NamedTuple):
    """A page of a PDF on white, with its form fields and annotations."""

    image: Image.Image
    size: Size
    """The size at which the model sees it."""
    scale: float
    """Pixels of the image for each point."""
    warnings: Warnings
    """Name what could not be drawn."""
    text: str
    """What the page carries in pdfium's order; "" for a scan and broken text."""


def inspect_pdf(data: mmap, password: str | None = None) -> tuple[int, Warnings]:
    """Return the number of pages, and what to know about the PDF as a whole."""
    with opened(data, password) as document:
        return len(document), kind_warnings(document)


def draw_page(
    data: mmap, number: int, sizing: Sizing, password: str | None = None
) -> DrawnPage:
    """Draw page `number`, counted from 1.

    Raises UnreadableDocumentError if nothing of the page could be drawn.
    """
    with _opened_page(data, number, password) as (document, page):
        width, height = page.get_size()
        scale = pdf_render_scale(width, height, sizing)
        image = _drawn(page, scale)
        warnings = undrawn_warnings(document, page, number, image)
        text, doubts = _text_and_warnings(page, image)
        size = pdf_target_size(width, height, sizing)
        return DrawnPage(image, size, scale, (*warnings, *doubts), text)


def draw_parts(
    data: mmap,
    number: int,
    page_scale: float,
    boxes: Iterable[Box],
    zoom: float,
    password: str | None = None,
) -> Iterator[Image.Image]:
    """Draw parts of page `number` one by one in gray, enlarged by `zoom`.

    `boxes` are in pixels of the page as `draw_page` draws it, and `page_scale` is the
    number of those for each point.
    """
    with _opened_page(data, number, password) as (_, page):
        for box in boxes:
            crop = _crop(page, box, page_scale)
            part = _drawn(page, zoom * page_scale, crop, is_gray=True)
            left, top, right, bottom = (round(zoom * side) for side in box)
            # pdfium's roundings must not add up from part to part.
            yield part.resize((max(1, right - left), max(1, bottom - top)))


def draw_strip(
    data: mmap, number: int, sizing: Sizing, box: Box, password: str | None = None
) -> tuple[Image.Image, Size, str]:
    """Draw one part of page `number` as if it were a page of its own.

    `box` is in pixels of the page as `draw_page` draws it. Returns the image, the size
    at which the model sees it, and the text there.
    """
    with _opened_page(data, number, password) as (_, page):
        width, height = page.get_size()
        page_scale = pdf_render_scale(width, height, sizing)
        width, height = (box[2] - box[0]) / page_scale, (box[3] - box[1]) / page_scale
        size = pdf_target_size(width, height, sizing)
        scale = pdf_render_scale(width, height, sizing)
        image = _drawn(page, scale, _crop(page, box, page_scale))
        return image, size, _text_of(page, sizing, box)


def text_layer(data: mmap, number: int, password: str | None = None) -> str:
    """Return the text that page `number` carries, in pdfium's order; "" without one.

    A scan has no text, and what is broken counts as none: the page is read all the
    same.
    """
    try:
        with opened(data, password) as document:
            return _text_of(_page_with_area(document[number - 1]))
    # Any exception: what pdfium makes of a stranger's file promises no list.
    except Exception:
        return ""


def _text_of(
    page: pypdfium2.PdfPage, sizing: Sizing | None = None, box: Box | None = None
) -> str:
    """Return a page's text; with `sizing` and `box` only the text there."""
    try:
        bounds: tuple[float | None, ...] = (None,) * 4
        if box is not None and sizing is not None:
            bounds = _page_bounds(page, box, sizing)
        text: str = page.get_textpage().get_text_bounded(*bounds)
        return text[:MAX_TEXT_CHARACTERS]
    # Any exception: what pdfium makes of a stranger's fonts promises no list.
    except Exception:
        return ""


def _text_and_warnings(
    page: pypdfium2.PdfPage, image: Image.Image
) -> tuple[str, Warnings]:
    """Return a page's text, and a warning if some of it is not drawn on `image`."""
    try:
        textpage = page.get_textpage()
        text: str = textpage.get_text_bounded()
        letters = installed_mapper().families_drawn_as_letters()
        warnings = not_drawn_warnings(page, textpage, image, letters)
        return text[:MAX_TEXT_CHARACTERS], warnings
    # Any exception: what pdfium makes of a stranger's fonts promises no list.
    except Exception:
        return "", ()


@contextmanager
def _opened_page(
    data: mmap, number: int, password: str | None
) -> Iterator[tuple[pypdfium2.PdfDocument, pypdfium2.PdfPage]]:
    """Open a page whose characters are drawn with fonts of the machine that have them.

    Raises UnreadableDocumentError for a page without area and one that is too long,
    before there is a bitmap.
    """
    fonts: FontChoice | None = None
    for is_last in (False, True):
        installed_mapper().use(fonts)
        with opened(data, password) as document:
            if number > len(document):
                raise UnreadableDocumentError(f"the PDF has no page {number}")
            page = _page_with_area(page_with_annotations(data, document, number))
            width, height = page.get_size()
            if not (width > 0 and height > 0):
                raise UnreadableDocumentError(f"page {number} has no area")
            check_aspect(width, height)
            if not is_last:
                fonts = choose_fonts(page, installed_mapper())
            if is_last or fonts is None:
                installed_mapper().load_fallbacks(page)
                yield document, page
                return
        # A document keeps the fonts that it has loaded, so it is opened again.


def _drawn(
    page: pypdfium2.PdfPage,
    scale: float,
    crop: tuple[float, float, float, float] = (0, 0, 0, 0),
    is_gray: bool = False,
) -> Image.Image:
    """Draw a page without what `crop` cuts off, in points: left, bottom, right, top."""
    bitmap = page.render(
        scale=scale,
        crop=crop,
        grayscale=is_gray,
        may_draw_forms=False,
        draw_annots=True,
        rev_byteorder=True,
    )
    image: Image.Image = bitmap.to_pil()
    # Pillow unpacks RGB into memory of its own; other modes lie in the bitmap, which is
    # freed with this function.
    return image if image.mode == "RGB" else image.convert("L" if is_gray else "RGB")


def _crop(
    page: pypdfium2.PdfPage, box: Box, page_scale: float
) -> tuple[float, float, float, float]:
    width, height = page.get_size()
    left, top, right, bottom = (side / page_scale for side in box)
    return left, max(0.0, height - bottom), max(0.0, width - right), top


def _page_bounds(
    page: pypdfium2.PdfPage, box: Box, sizing: Sizing
) -> tuple[float, float, float, float]:
    """Return a box in the page's own coordinates: left, bottom, right, top."""
    width, height = page.get_size()
    size = pdf_render_size(width, height, sizing)
    corners = []
    for x, y in (box[:2], box[2:]):
        at = ctypes.c_double(), ctypes.c_double()
        pdfium.FPDF_DeviceToPage(
            page, 0, 0, *size, 0, x, y, ctypes.byref(at[0]), ctypes.byref(at[1])
        )
        corners.append((at[0].value, at[1].value))
    (x0, y0), (x1, y1) = corners
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _page_with_area(page: pypdfium2.PdfPage) -> pypdfium2.PdfPage:
    """Show the whole sheet of a page that its crop box leaves nothing of."""
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        page.set_cropbox(*page.get_mediabox())
    return page
