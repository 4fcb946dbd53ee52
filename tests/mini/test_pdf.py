"""PDFs of rendered pages, which look the same and have a text layer."""

from __future__ import annotations

import random

import numpy as np
import pypdfium2
import pytest

from mini.pages import Domain, RenderedPage, render_page
from mini.pdf import PIXELS_PER_POINT, as_pdf

CLEAN = Domain(clean=1.0)


def pages(count: int) -> list[RenderedPage]:
    drawn = (render_page(random.Random(f"pdf/{n}"), CLEAN) for n in range(count))
    return [page for page in drawn if page.blocks]


def test_rendered_pdf_looks_like_the_page():
    drawn = pages(6)
    document = pypdfium2.PdfDocument(as_pdf(*drawn))

    for page, shown in zip(drawn, document, strict=True):
        picture = shown.render(scale=PIXELS_PER_POINT).to_pil().convert("L")
        assert picture.size == page.image.size
        # Pillow and pdfium draw letters differently, but at the same positions.
        ours, theirs = (
            np.asarray(image.convert("L").reduce(8), dtype=float)
            for image in (page.image, picture)
        )
        assert np.abs(ours - theirs).mean() < 4
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9


def test_text_layer_has_every_word():
    [drawn] = pages(1)
    [shown] = pypdfium2.PdfDocument(as_pdf(drawn))

    layer = shown.get_textpage().get_text_range()

    words = [mark.text for mark in drawn.marks if mark.kind == "text"]
    assert layer.split() == " ".join(words).split()


def test_the_same_pages_give_the_same_bytes():
    assert as_pdf(*pages(2)) == as_pdf(*pages(2))


def test_a_degraded_page_is_refused():
    page = render_page(random.Random(1), Domain(clean=0.0))

    with pytest.raises(ValueError, match="clean"):
        as_pdf(page)
