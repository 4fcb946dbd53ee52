"""Draw a page of a PDF as a viewer would show it, and read its text, by pdfium.

pdfium is not thread safe. The processes this runs in have one thread.
"""

from __future__ import annotations

from mmap import mmap

import pypdfium2
from PIL import Image

from handler.errors import UnreadableDocumentError
from handler.preprocess.pdf.annotations import page_with_annotations
from handler.preprocess.pdf.fonts import FontChoice, choose_fonts, installed_mapper
from handler.preprocess.pdf.kind import kind_warnings
from handler.preprocess.pdf.opened import opened
from handler.preprocess.pdf.undrawn import undrawn_warnings
from handler.preprocess.pdf.visible_text import not_drawn_warnings
from handler.preprocess.sizing import Size, pdf_render_scale, pdf_target_size
from handler.profiles import Sizing
from handler.schema import PageWarning

__all__ = ["draw_page", "inspect_pdf", "text_and_warnings", "text_layer"]

MAX_TEXT_CHARACTERS = 100_000
"""A page of small print has 20,000."""

Warnings = tuple[PageWarning, ...]


def inspect_pdf(data: mmap, password: str | None = None) -> tuple[int, Warnings]:
    """Return the number of pages, and what to know about the PDF as a whole."""
    with opened(data, password) as document:
        return len(document), kind_warnings(document)


def draw_page(
    data: mmap,
    number: int,
    sizing: Sizing,
    password: str | None = None,
    fonts: FontChoice | None = None,
) -> tuple[Image.Image, Size, Warnings]:
    """Draw page `number`, counted from 1, on white with its fields and annotations.

    Also returns the size at which the model sees it, and what could not be drawn.
    Without `fonts`, fonts of the machine are chosen that have the page's characters.
    Raises UnreadableDocumentError if nothing of the page could be drawn.
    """
    installed_mapper().use(fonts)
    with opened(data, password) as document:
        if number > len(document):
            raise UnreadableDocumentError(f"the PDF has no page {number}")
        page = _page_with_area(page_with_annotations(data, document, number))
        width, height = page.get_size()
        if not (width > 0 and height > 0):
            raise UnreadableDocumentError(f"page {number} has no area")
        # First, because it says no to pages like a thread: there is no bitmap yet.
        size = pdf_target_size(width, height, sizing)
        if fonts is None:
            fonts = choose_fonts(page, installed_mapper())
            if fonts is not None:
                # A document keeps the fonts that it has loaded.
                return draw_page(data, number, sizing, password, fonts)
        bitmap = page.render(
            scale=pdf_render_scale(width, height, sizing),
            may_draw_forms=False,
            draw_annots=True,
            rev_byteorder=True,
        )
        image: Image.Image = bitmap.to_pil().convert("RGB")
        return image, size, undrawn_warnings(document, page, number, image)


def text_layer(data: mmap, number: int, password: str | None = None) -> str:
    """Return the text that page `number` carries, in pdfium's order; "" without one.

    A scan has none, and what is broken counts as none: the page is read all the same.
    """
    return text_and_warnings(data, number, None, password)[0]


def text_and_warnings(
    data: mmap, number: int, image: Image.Image | None, password: str | None = None
) -> tuple[str, Warnings]:
    """Return what `text_layer` does, and a warning if some of it is not drawn.

    `image` is the page as `draw_page` returned it just before.
    """
    try:
        with opened(data, password) as document:
            page = _page_with_area(document[number - 1])
            textpage = page.get_textpage()
            text: str = textpage.get_text_bounded()
            warnings: Warnings = ()
            if image is not None:
                warnings = not_drawn_warnings(page, textpage, image)
            return text[:MAX_TEXT_CHARACTERS], warnings
    # Any exception: what pdfium makes of a stranger's fonts promises no list.
    except Exception:
        return "", ()


def _page_with_area(page: pypdfium2.PdfPage) -> pypdfium2.PdfPage:
    """Show the whole sheet of a page that its crop box leaves nothing of."""
    width, height = page.get_size()
    if not (width > 0 and height > 0):
        page.set_cropbox(*page.get_mediabox())
    return page
