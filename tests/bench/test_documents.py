"""Benchmark pages."""

from __future__ import annotations

import statistics

from bench.runs.documents import (
    make_pdf_requests,
    make_png_requests,
    render_pages_of_lognormal_length,
)


def text_lengths(pages) -> list[int]:
    return [sum(len(block.html) for block in page.blocks) for page in pages]


def test_pages_have_realistic_lengths():
    sizes = sorted(text_lengths(render_pages_of_lognormal_length(60, "test")))

    assert sizes[-1] > 8 * sizes[0]
    # A few pages are long, which makes batches wait for the longest page.
    assert statistics.fmean(sizes) > 1.1 * statistics.median(sizes)


def test_the_same_seed_gives_the_same_pages():
    first, second = (render_pages_of_lognormal_length(3, "same") for _ in range(2))

    assert [page.html for page in first] == [page.html for page in second]


def test_picture_has_no_text_layer():
    [request] = make_png_requests(render_pages_of_lognormal_length(1, "test"))

    assert request.page.text_layer == ""


def test_born_digital_page_has_a_text_layer():
    pages = render_pages_of_lognormal_length(3, "test")

    for page, request in zip(pages, make_pdf_requests(pages), strict=True):
        letters = [
            piece.text
            for block in page.blocks
            if block.label != "Figure"
            for piece in block.pieces
            if piece.place and len(piece.text) == 1
        ]
        layer = "".join(request.page.text_layer.split())
        text = "".join(letters).replace(" ", "")
        assert sorted(set(text) - set(layer)) == []
        assert len(layer) >= 0.9 * len(text)
