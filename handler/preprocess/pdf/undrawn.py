"""Find what a PDF page should show and pdfium could not draw."""

from __future__ import annotations

import pypdfium2
from PIL import Image

from handler.schema import PageWarning

__all__ = ["undrawn_warnings"]


def undrawn_warnings(
    document: pypdfium2.PdfDocument,
    page: pypdfium2.PdfPage,
    number: int,
    image: Image.Image,
) -> tuple[PageWarning, ...]:
    return ()
