"""Draw a page of a PDF as a viewer would show it, and read its text, by pdfium.

pdfium is not thread safe. The processes this runs in have one thread.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import mmap

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from handler.errors import UnreadableDocumentError
from handler.preprocess.pdf.fonts import FontChoice, choose_fonts, installed_mapper
from handler.preprocess.pdf.visible_text import not_drawn_warnings
from handler.preprocess.sizing import Size, pdf_render_scale, pdf_target_size
from handler.profiles import Sizing
from handler.schema import PageWarning

__all__ = ["count_pages", "draw_page", "text_and_warnings", "text_layer"]

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
    data: mmap, number: int, sizing: Sizing, fonts: FontChoice | None = None
) -> tuple[Image.Image, Size]:
    """Page `number`, counted from 1, and the size at which the model sees it.

    On white, with its form fields and annotations. Without `fonts`, fonts of the
    machine are chosen that have the page's characters.
    """
    installed_mapper().use(fonts)
    with _opened(data) as document:
        if number > len(document):
            raise UnreadableDocumentError(f"the PDF has no page {number}")
        document.init_forms()
        page = document[number - 1]
        width, height = page.get_size()
        if not (width > 0 and height > 0):
            raise UnreadableDocumentError(f"page {number} has no area")
        # First, because it says no to pages like a thread: there is no bitmap yet.
        size = pdf_target_size(width, height, sizing)
        if fonts is None:
            fonts = choose_fonts(page, installed_mapper())
            if fonts is not None:
                # A document keeps the fonts that it has loaded.
                return draw_page(data, number, sizing, fonts)
        bitmap = page.render(
            scale=pdf_render_scale(width, height, sizing),
            may_draw_forms=True,
            draw_annots=True,
            rev_byteorder=True,
        )
        image: Image.Image = bitmap.to_pil().convert("RGB")
        return image, size


def text_layer(data: mmap, number: int) -> str:
    """Return the text page `number` carries, in pdfium's order; "" where there is none.

    A scan has none, and what is broken counts as none: the page is read all the same.
    """
    return text_and_warnings(data, number, None)[0]


def text_and_warnings(
    data: mmap, number: int, image: Image.Image | None
) -> tuple[str, tuple[PageWarning, ...]]:
    """Return what `text_layer` does, and a warning if some of it is not drawn.

    `image` is the page as `draw_page` returned it just before.
    """
    try:
        with _opened(data) as document:
            page = document[number - 1]
            textpage = page.get_textpage()
            text: str = textpage.get_text_bounded()
            warnings: tuple[PageWarning, ...] = ()
            if image is not None:
                warnings = not_drawn_warnings(page, textpage, image)
            return text[:MAX_TEXT_CHARACTERS], warnings
    # Any exception: what pdfium makes of a stranger's fonts promises no list.
    except Exception:
        return "", ()


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
