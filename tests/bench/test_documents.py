"""Pages to measure with."""

from __future__ import annotations

import statistics

from bench.documents import as_pdf_pages, as_pictures, pages_of_lognormal_length


def lengths(pages) -> list[int]:
    return [sum(len(block.html) for block in page.blocks) for page in pages]


def test_pages_differ_in_length_as_real_ones_do():
    found = sorted(lengths(pages_of_lognormal_length(60, "test")))

    assert found[-1] > 8 * found[0]
    # A few are long: that is what waiting for the longest costs.
    assert statistics.fmean(found) > 1.1 * statistics.median(found)


def test_the_same_seed_gives_the_same_pages():
    one, other = (pages_of_lognormal_length(3, "same") for _ in range(2))

    assert [page.html for page in one] == [page.html for page in other]


def test_a_picture_says_nothing_but_what_is_seen():
    [request] = as_pictures(pages_of_lognormal_length(1, "test"))

    assert request.page.text_layer == ""


def test_a_born_digital_page_carries_its_text():
    pages = pages_of_lognormal_length(3, "test")

    for page, request in zip(pages, as_pdf_pages(pages), strict=True):
        letters = [
            piece.text
            for block in page.blocks
            if block.label != "Figure"
            for piece in block.pieces
            if piece.place and len(piece.text) == 1
        ]
        layer = "".join(request.page.text_layer.split())
        said = "".join(letters).replace(" ", "")
        assert sorted(set(said) - set(layer)) == []
        assert len(layer) >= 0.9 * len(said)
