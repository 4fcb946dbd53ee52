"""Born-digital PDFs of rendered pages, with the same letters as text."""

from __future__ import annotations

import io
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import ImageFont
from reportlab.lib.colors import Color
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas as PdfCanvas

from mini.canvas import Ink, Mark
from mini.truth import RenderedPage

__all__ = ["PIXELS_PER_POINT", "as_pdf"]

PIXELS_PER_POINT = 96 / 72
"""`mini` renders PDFs at 96 dots per inch, so that pages keep their size in pixels."""


def as_pdf(*pages: RenderedPage) -> bytes:
    """Return a PDF of the pages with a text layer.

    Raise ValueError for a rotated or degraded page, which has no recorded operations.
    """
    stream = io.BytesIO()
    canvas = PdfCanvas(stream, invariant=True)
    for page in pages:
        if not page.marks:
            raise ValueError(
                "a rotated or degraded page has no recorded drawing operations; "
                "render it with Domain(clean=1.0)"
            )
        width, height = page.image.size
        canvas.setPageSize((width / PIXELS_PER_POINT, height / PIXELS_PER_POINT))
        canvas.scale(1 / PIXELS_PER_POINT, 1 / PIXELS_PER_POINT)
        canvas.setFillColor(_colour(page.paper))
        canvas.rect(0, 0, width, height, stroke=0, fill=1)
        for mark in page.marks:
            _draw_mark(canvas, mark, height)
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


def _draw_mark(canvas: PdfCanvas, mark: Mark, height: int) -> None:
    xs, ys = mark.points[::2], [height - y for y in mark.points[1::2]]
    if mark.fill is not None:
        canvas.setFillColor(_colour(mark.fill))
    if mark.kind == "text":
        assert mark.font is not None
        canvas.setFont(_register_font(mark.font), mark.font.size)
        canvas.drawString(xs[0], ys[0], mark.text)
    elif mark.kind == "line":
        assert mark.fill is not None
        canvas.setStrokeColor(_colour(mark.fill))
        canvas.setLineWidth(mark.width)
        places = list(zip(xs, ys, strict=True))
        canvas.lines([(*one, *other) for one, other in pairwise(places)])
    else:
        if mark.outline is not None:
            canvas.setStrokeColor(_colour(mark.outline))
            canvas.setLineWidth(mark.width)
        stroke, fill = mark.outline is not None, mark.fill is not None
        if mark.kind == "ellipse":
            canvas.ellipse(*_corners(xs, ys), stroke=stroke, fill=fill)
        else:
            left, bottom, right, top = _corners(xs, ys)
            canvas.rect(left, bottom, right - left, top - bottom, stroke, fill)


def _corners(
    xs: tuple[float, ...], ys: list[float]
) -> tuple[float, float, float, float]:
    return min(xs), min(ys), max(xs), max(ys)


def _colour(ink: Ink) -> Color:
    return Color(*(channel / 255 for channel in ink))


def _register_font(font: ImageFont.FreeTypeFont) -> str:
    """Register the font with reportlab if necessary, and return its name."""
    name = " ".join(part for part in font.getname() if part)
    if name not in pdfmetrics.getRegisteredFontNames():
        path = font.path
        file = (
            path if isinstance(path, io.BytesIO) else io.BytesIO(_read_font_file(path))
        )
        file.seek(0)
        pdfmetrics.registerFont(TTFont(name, file))
    return name


def _read_font_file(path: Any) -> bytes:
    return Path(os.fsdecode(path)).read_bytes()
