"""Renderer of pages, whose ground truth matches the image."""

from __future__ import annotations

import html
import random
import re

import numpy as np
import pytest

from mini.evaluate import parse_content
from mini.pages import Domain, RenderedPage, render_page
from mini.truth import BBOX_SCALE, BBOX_STEP
from mini.words import CHARACTERS

CLEAN = Domain(clean=1.0)
SCANNED = Domain(clean=0.0)


def render_pages(domain: Domain, count: int = 40) -> list[RenderedPage]:
    return [render_page(random.Random(f"test/{n}"), domain) for n in range(count)]


def parse_page(page: RenderedPage):
    return parse_content(page.html, page)


def test_the_same_seed_draws_the_same_page():
    first, second = (render_page(random.Random("same"), SCANNED) for _ in range(2))

    assert first.image.tobytes() == second.image.tobytes()
    assert first.html == second.html


def test_pages_have_all_labels():
    labels = {block.label for page in render_pages(CLEAN, 120) for block in page.blocks}

    assert labels == {
        "Text",
        "Section-Header",
        "List-Group",
        "Table",
        "Page-Header",
        "Page-Footer",
        "Figure",
    }


def test_pages_are_within_their_domain():
    for page in render_pages(CLEAN):
        assert CLEAN.widths[0] <= page.image.width <= CLEAN.widths[1]
        assert CLEAN.heights[0] <= page.image.height <= CLEAN.heights[1]
        # A page header and footer are not counted as blocks.
        assert len(page.blocks) <= CLEAN.max_blocks + 2


@pytest.mark.parametrize("domain", [CLEAN, SCANNED], ids=["clean", "scanned"])
def test_parsed_answer_has_the_blocks_that_were_drawn(domain):
    for page in render_pages(domain):
        parsed = parse_page(page)

        assert not parsed.warnings
        assert [b.label for b in parsed.blocks] == [b.label for b in page.blocks]
        for block, drawn in zip(parsed.blocks, page.blocks, strict=True):
            # The tolerance is half a step of the answer's boxes and half a pixel.
            tolerance = max(page.image.size) * BBOX_STEP / BBOX_SCALE / 2 + 0.5
            assert block.bbox == pytest.approx(drawn.bbox, abs=tolerance)


def test_answer_has_only_known_characters():
    for page in render_pages(CLEAN):
        text = html.unescape(re.sub("<[^>]*>", "", page.html))

        assert set(text) <= set(CHARACTERS + " ")


@pytest.mark.parametrize("domain", [CLEAN, SCANNED], ids=["clean", "scanned"])
def test_every_letter_lies_in_its_block(domain):
    for page in render_pages(domain):
        for block in page.blocks:
            x0, y0, x1, y1 = block.bbox
            for piece in block.pieces:
                if piece.place is not None:
                    assert x0 - 2 <= piece.place[0] <= x1 + 2, piece
                    assert y0 - 2 <= piece.place[1] <= y1 + 2, piece


def test_page_has_ink_at_the_recorded_letter_positions():
    wide_letters = set("abdeghkmnopqsuwxABDEGHKMNOPQRSUVWXYZ0234568#@&%")
    num_letters = num_inked = 0
    for page in render_pages(CLEAN):
        grey = np.asarray(page.image.convert("L"), dtype=int)
        for block in page.blocks:
            if block.label in ("Figure", "Table"):
                continue
            for piece in block.pieces:
                if piece.place is None or piece.text not in wide_letters:
                    continue
                x, y = map(round, piece.place)
                around = grey[max(0, y - 6) : y + 7, max(0, x - 4) : x + 5]
                num_letters += 1
                num_inked += int(around.max() - around.min() > 60)

    assert num_letters > 3000
    assert num_inked / num_letters > 0.99


def test_rotation_applies_to_letter_positions():
    """The baselines of headings have slopes in both directions."""
    rotated_domain = Domain(clean=0.0, max_degrees=3.0)

    slopes = []
    for page in render_pages(rotated_domain):
        for block in page.blocks:
            places = [piece.place for piece in block.pieces if piece.place is not None]
            if block.label == "Section-Header" and len(places) > 5:
                (xa, ya), (xb, yb) = places[0], places[-1]
                slopes.append((yb - ya) / (xb - xa))
    assert max(slopes) > 0.01
    assert min(slopes) < -0.01
