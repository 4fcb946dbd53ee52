"""Draw a page of a PDF as a viewer would show it, and read its text, by pdfium.

pdfium is not thread safe. The processes this runs in have one thread.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from mmap import mmap

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from handler.errors import UnreadableDocumentError
from handler.preprocess.sizing import (
    Size,
    check_aspect,
    pdf_render_scale,
    pdf_render_size,
    pdf_target_size,
)
from handler.profiles import Sizing

__all__ = ["Box", "count_pages", "draw_page", "draw_parts", "draw_strip", "text_layer"]

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels of the page as `draw_page` draws it."""

MAX_TEXT_CHARACTERS = 100_000
"""A page of small print has 20,000."""

_REASONS = {
    pdfium.FPDF_ERR_PASSWORD: "it is encrypted and needs a password",
    pdfium.FPDF_ERR_SECURITY: "it is encrypted in a way that is not supported",
    pdfium.FPDF_ERR_FORMAT: "it is damaged, or ends early",
}


def count_pages(data: mmap) -> int:
    with _opened(data) as document:
        return len(document)


def draw_page(
    data: mmap, number: int, sizing: Sizing
) -> tuple[Image.Image, Size, float]:
    """Page `number`, counted from 1, on white, with its form fields and annotations.

    Returns the image, the size at which the model sees it, and its pixels per point.
    """
    with _opened_page(data, number) as page:
        width, height = page.get_size()
        # First, because it says no to pages like a thread: there is no bitmap yet.
        size = pdf_target_size(width, height, sizing)
        scale = pdf_render_scale(width, height, sizing)
        return _drawn(page, scale), size, scale


def draw_parts(
    data: mmap, number: int, page_scale: float, boxes: Iterable[Box], zoom: float
) -> Iterator[Image.Image]:
    """Draw parts of page `number` one by one in gray, enlarged by `zoom`.

    `page_scale` is the number of pixels of the page for each point.
    """
    with _opened_page(data, number) as page:
        for box in boxes:
            crop = _crop(page, box, page_scale)
            part = _drawn(page, zoom * page_scale, crop, is_gray=True)
            left, top, right, bottom = (round(zoom * side) for side in box)
            # pdfium's roundings must not add up from part to part.
            yield part.resize((max(1, right - left), max(1, bottom - top)))


def draw_strip(
    data: mmap, number: int, sizing: Sizing, box: Box
) -> tuple[Image.Image, Size]:
    """Draw one part of page `number` as if it were a page of its own.

    Returns the image and the size at which the model sees it.
    """
    with _opened_page(data, number) as page:
        page_scale = _page_scale(page, sizing)
        width, height = (box[2] - box[0]) / page_scale, (box[3] - box[1]) / page_scale
        size = pdf_target_size(width, height, sizing)
        scale = pdf_render_scale(width, height, sizing)
        return _drawn(page, scale, _crop(page, box, page_scale)), size


def text_layer(
    data: mmap, number: int, sizing: Sizing | None = None, box: Box | None = None
) -> str:
    """The text page `number` carries, in pdfium's order; "" where there is none.

    With `box` only the text there. A scan has none, and what is broken counts as none:
    the page is read all the same.
    """
    try:
        with _opened(data) as document:
            page = document[number - 1]
            bounds: tuple[float | None, ...] = (None,) * 4
            if box is not None and sizing is not None:
                bounds = _page_bounds(page, box, sizing)
            text: str = page.get_textpage().get_text_bounded(*bounds)
            return text[:MAX_TEXT_CHARACTERS]
    # Any exception: what pdfium makes of a stranger's fonts promises no list.
    except Exception:
        return ""


@contextmanager
def _opened_page(data: mmap, number: int) -> Iterator[pypdfium2.PdfPage]:
    with _opened(data) as document:
        if number > len(document):
            raise UnreadableDocumentError(f"the PDF has no page {number}")
        document.init_forms()
        page = document[number - 1]
        width, height = page.get_size()
        if not (width > 0 and height > 0):
            raise UnreadableDocumentError(f"page {number} has no area")
        check_aspect(width, height)
        yield page


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
        may_draw_forms=True,
        draw_annots=True,
        rev_byteorder=True,
    )
    image: Image.Image = bitmap.to_pil().convert("L" if is_gray else "RGB")
    return image


def _page_scale(page: pypdfium2.PdfPage, sizing: Sizing) -> float:
    width, height = page.get_size()
    return pdf_render_scale(width, height, sizing)


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
    page_width, page_height = page.get_size()
    size = pdf_render_size(page_width, page_height, sizing)
    corners = []
    for x, y in (box[:2], box[2:]):
        at = ctypes.c_double(), ctypes.c_double()
        pdfium.FPDF_DeviceToPage(
            page, 0, 0, *size, 0, x, y, ctypes.byref(at[0]), ctypes.byref(at[1])
        )
        corners.append((at[0].value, at[1].value))
    (x0, y0), (x1, y1) = corners
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


@contextmanager
def _opened(data: mmap) -> Iterator[pypdfium2.PdfDocument]:
    # Not by path: pypdfium2 resolves /proc/<pid>/fd to a name that is gone.
    memory = (ctypes.c_char * len(data)).from_buffer(data)
    # Not by PdfDocument(memory), which asks pdfium for an error where there is
    # none, and so calls a PDF of no pages encrypted if the last one was.
    raw = pdfium.FPDF_LoadMemDocument64(memory, len(data), None)
    if not raw:
        reason = _REASONS.get(pdfium.FPDF_GetLastError(), "pdfium cannot open it")
        raise UnreadableDocumentError(f"the PDF cannot be read: {reason}")
    document = pypdfium2.PdfDocument(raw)
    try:
        if len(document) == 0:
            raise UnreadableDocumentError("the PDF has no pages")
        yield document
    finally:
        document.close()
