"""Rendering of PDF pages with pdfium, and extraction of their text layer.

pdfium is not thread-safe, so the processes that use this module have one thread.
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
from handler.preprocess.pdf.annotations.page_annotations import (
    load_page_with_annotations,
)
from handler.preprocess.pdf.damage.page_damage import damage_warnings
from handler.preprocess.pdf.fonts.mapper import FontRequirements, get_installed_mapper
from handler.preprocess.pdf.fonts.page_fonts import find_font_requirements
from handler.preprocess.pdf.kind import placeholder_warnings
from handler.preprocess.pdf.opening import open_pdf
from handler.preprocess.pdf.visible_text import missing_text_warnings
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
    "read_text_layer",
]

MAX_TEXT_CHARACTERS = 100_000
"""Limit on the length of a text layer. A page of small print has 20,000 characters."""

Warnings = tuple[PageWarning, ...]


class DrawnPage(NamedTuple):
    """A rendered PDF page on white, with its form fields and annotations."""

    image: Image.Image
    size: Size
    """The model's input size."""
    scale: float
    """Pixels of the image per point."""
    warnings: Warnings
    """Warnings about parts that could not be rendered."""
    text: str
    """The text layer in pdfium's order; "" for a scan and for unreadable text."""


def inspect_pdf(data: mmap, password: str | None = None) -> tuple[int, Warnings]:
    """Return the number of pages and the warnings about the PDF as a whole.

    Raises the errors of `open_pdf`.
    """
    with open_pdf(data, password) as document:
        return len(document), placeholder_warnings(document)


def draw_page(
    data: mmap, number: int, sizing: Sizing, password: str | None = None
) -> DrawnPage:
    """Render page `number`, counted from 1.

    Raises UnreadableDocumentError if the page does not exist, has no area, is too long,
    or is damaged so that nothing can be rendered; also the errors of `open_pdf`.
    """
    with _open_page(data, number, password) as (document, page):
        width, height = page.get_size()
        scale = pdf_render_scale(width, height, sizing)
        image = _render(page, scale)
        warnings = damage_warnings(document, page, number, image)
        text, doubts = _read_text_with_warnings(page, image)
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
    """Render parts of page `number` in gray, enlarged by `zoom`, and yield them.

    `boxes` are in pixels of the page as rendered by `draw_page`, and `page_scale` is
    the number of these pixels per point. The PDF stays open until the iterator is
    exhausted or closed. Raises the errors of `draw_page` at the first part.
    """
    with _open_page(data, number, password) as (_, page):
        for box in boxes:
            crop = _crop_margins(page, box, page_scale)
            part = _render(page, zoom * page_scale, crop, is_gray=True)
            left, top, right, bottom = (round(zoom * side) for side in box)
            # Resize to the exact size, so that pdfium's roundings do not accumulate.
            yield part.resize((max(1, right - left), max(1, bottom - top)))


def draw_strip(
    data: mmap, number: int, sizing: Sizing, box: Box, password: str | None = None
) -> tuple[Image.Image, Size, str]:
    """Render one part of page `number` as a page of its own.

    `box` is in pixels of the page as rendered by `draw_page`. Returns the image, the
    model's input size for it, and the text in the box; "" if it has no readable text.
    """
    with _open_page(data, number, password) as (_, page):
        width, height = page.get_size()
        page_scale = pdf_render_scale(width, height, sizing)
        width, height = (box[2] - box[0]) / page_scale, (box[3] - box[1]) / page_scale
        size = pdf_target_size(width, height, sizing)
        scale = pdf_render_scale(width, height, sizing)
        image = _render(page, scale, _crop_margins(page, box, page_scale))
        return image, size, _read_text(page, sizing, box)


def read_text_layer(data: mmap, number: int, password: str | None = None) -> str:
    """Return the text layer of page `number`, in pdfium's order.

    Returns "" for a scan, and if the text cannot be extracted; the page can still be
    read by the model.
    """
    try:
        with open_pdf(data, password) as document:
            return _read_text(_ensure_area(document[number - 1]))
    # Catch every exception: the exceptions for damaged files are not documented, and
    # the text layer is optional.
    except Exception:
        return ""


def _read_text(
    page: pypdfium2.PdfPage, sizing: Sizing | None = None, box: Box | None = None
) -> str:
    """Return the text of a page, or of a box in pixels of the rendered page.

    `sizing` is needed for a box. Returns "" if the text cannot be extracted.
    """
    try:
        bounds: tuple[float | None, ...] = (None,) * 4
        if box is not None and sizing is not None:
            bounds = _to_page_bounds(page, box, sizing)
        text: str = page.get_textpage().get_text_bounded(*bounds)
        return text[:MAX_TEXT_CHARACTERS]
    # Catch every exception: damaged fonts raise undocumented ones, and the text layer
    # is optional.
    except Exception:
        return ""


def _read_text_with_warnings(
    page: pypdfium2.PdfPage, image: Image.Image
) -> tuple[str, Warnings]:
    """Return a page's text, and a warning if some of it is missing in `image`.

    Returns "" and no warning if the text cannot be extracted.
    """
    try:
        textpage = page.get_textpage()
        text: str = textpage.get_text_bounded()
        letter_families = get_installed_mapper().list_families_drawn_as_letters()
        warnings = missing_text_warnings(page, textpage, image, letter_families)
        return text[:MAX_TEXT_CHARACTERS], warnings
    # Catch every exception: damaged fonts raise undocumented ones, and the text layer
    # is optional.
    except Exception:
        return "", ()


@contextmanager
def _open_page(
    data: mmap, number: int, password: str | None
) -> Iterator[tuple[pypdfium2.PdfDocument, pypdfium2.PdfPage]]:
    """Open a page with installed fonts for the characters that pdfium's fonts lack.

    Raises UnreadableDocumentError for a page that does not exist, has no area or is too
    long, before a bitmap is allocated.
    """
    requirements: FontRequirements | None = None
    for is_last in (False, True):
        get_installed_mapper().set_requirements(requirements)
        with open_pdf(data, password) as document:
            if number > len(document):
                raise UnreadableDocumentError(f"the PDF has no page {number}")
            page = _ensure_area(load_page_with_annotations(data, document, number))
            width, height = page.get_size()
            if not (width > 0 and height > 0):
                raise UnreadableDocumentError(f"page {number} has no area")
            check_aspect(width, height)
            if not is_last:
                requirements = find_font_requirements(page, get_installed_mapper())
            if is_last or requirements is None:
                get_installed_mapper().request_fallback_fonts(page)
                yield document, page
                return
        # A document keeps the fonts it has loaded, so open it again with the choice.


def _render(
    page: pypdfium2.PdfPage,
    scale: float,
    crop: tuple[float, float, float, float] = (0, 0, 0, 0),
    is_gray: bool = False,
) -> Image.Image:
    """Render a page at `scale` pixels per point.

    `crop` has the margins to cut off, in points: left, bottom, right, top.
    """
    bitmap = page.render(
        scale=scale,
        crop=crop,
        grayscale=is_gray,
        may_draw_forms=False,
        draw_annots=True,
        rev_byteorder=True,
    )
    image: Image.Image = bitmap.to_pil()
    # Pillow copies RGB pixels. Images of other modes use the memory of the bitmap,
    # which is freed when this function returns, so they are converted.
    return image if image.mode == "RGB" else image.convert("L" if is_gray else "RGB")


def _crop_margins(
    page: pypdfium2.PdfPage, box: Box, page_scale: float
) -> tuple[float, float, float, float]:
    """Return the margins to cut off for a box, in points: left, bottom, right, top."""
    width, height = page.get_size()
    left, top, right, bottom = (side / page_scale for side in box)
    return left, max(0.0, height - bottom), max(0.0, width - right), top


def _to_page_bounds(
    page: pypdfium2.PdfPage, box: Box, sizing: Sizing
) -> tuple[float, float, float, float]:
    """Convert a box in pixels to page coordinates: left, bottom, right, top."""
    width, height = page.get_size()
    size = pdf_render_size(width, height, sizing)
    corners = []
    for x, y in (box[:2], box[2:]):
        page_x, page_y = ctypes.c_double(), ctypes.c_double()
        pdfium.FPDF_DeviceToPage(
            page, 0, 0, *size, 0, x, y, ctypes.byref(page_x), ctypes.byref(page_y)
        )
        corners.append((page_x.value, page_y.value))
    (x0, y0), (x1, y1) = corners
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _ensure_area(page: pypdfium2.PdfPage) -> pypdfium2.PdfPage:
    """Replace a crop box that leaves no area by the media box, and return the page."""
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        page.set_cropbox(*page.get_mediabox())
    return page
