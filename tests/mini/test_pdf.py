"""PDFs of rendered pages, which look the same and have a text layer."""

from __future__ import annotations

import random

import numpy as np
import pypdfium2
import pytest

from mini.pages import Domain, RenderedPage, render_page
from mini.pdf import PIXELS_PER_POINT, as_pdf

CLEAN = Domain(clean=1.0)


def render_pages(count: int) -> list[RenderedPage]:
    rendered = (render_page(random.Random(f"pdf/{n}"), CLEAN) for n in range(count))
    return [page for page in rendered if page.blocks]


def test_rendered_pdf_looks_like_the_page():
    rendered = render_pages(6)
    document = pypdfium2.PdfDocument(as_pdf(*rendered))

    for page, pdf_page in zip(rendered, document, strict=True):
        picture = pdf_page.render(scale=PIXELS_PER_POINT).to_pil().convert("L")
        assert picture.size == page.image.size
        # Pillow and pdfium draw letters differently, but at the same positions.
        page_pixels, pdf_pixels = (
            np.asarray(image.convert("L").reduce(8), dtype=float)
            for image in (page.image, picture)
        )
        assert np.abs(page_pixels - pdf_pixels).mean() < 4
        assert np.corrcoef(page_pixels.ravel(), pdf_pixels.ravel())[0, 1] > 0.9


def test_text_layer_has_every_word():
    [rendered] = render_pages(1)
    [pdf_page] = pypdfium2.PdfDocument(as_pdf(rendered))

    layer = pdf_page.get_textpage().get_text_range()

    words = [mark.text for mark in rendered.marks if mark.kind == "text"]
    assert layer.split() == " ".join(words).split()


def test_the_same_pages_give_the_same_bytes():
    assert as_pdf(*render_pages(2)) == as_pdf(*render_pages(2))


def test_a_degraded_page_is_refused():
    page = render_page(random.Random(1), Domain(clean=0.0))

    with pytest.raises(ValueError, match="clean"):
        as_pdf(page)
