"""Correctness of the text that is read from documents of all formats.

The pages come from the renderer of the embedded model's training data, so the correct
text is known.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rapidfuzz.distance import Levenshtein

from mini.evaluate import parse_content
from mini.pages import Domain, RenderedPage, render_page
from mini.scores import compute_iou
from tests import documents
from tests.server.conftest import Client, run_server

# The embedded model misreads two of a hundred letters (mini/README.md), and different
# ones on a processor that rounds differently. A page on its side is almost all wrong.
MAX_ERRORS = 0.1

CLEAN = Domain(sizes=(22, 25), max_blocks=3, max_characters=90, clean=1.0)


def render_named_page(name: str) -> RenderedPage:
    return render_page(random.Random(name), CLEAN)


def true_content(page: RenderedPage):
    """Return the content of the page's perfect answer, as the service parses it."""
    return parse_content(page.html, page)


def check_pages(answer, *pages: RenderedPage) -> None:
    """Assert that an answer has the text of these pages, with few errors."""
    assert answer.status_code == 200
    check_texts(answer, *(true_content(page).markdown for page in pages))


def check_texts(answer, *texts: str) -> None:
    actual = [_words(page["markdown"]) for page in answer.json()["pages"]]

    assert actual == [_SimilarText(text) for text in texts]


def _words(markdown: str) -> str:
    # The test of blocks checks headings.
    return " ".join(markdown.replace("## ", "").split())


class _SimilarText:
    """Text that is equal to texts that differ in few characters."""

    def __init__(self, text: str) -> None:
        self.text = _words(text)

    def __eq__(self, other: object) -> bool:
        distance = Levenshtein.distance(self.text, str(other))
        return distance <= max(1.0, MAX_ERRORS * len(self.text))

    def __repr__(self) -> str:
        return repr(self.text)


@pytest.fixture(scope="module")
def client(model_store: Path) -> Iterator[Client]:
    """Client of a server whose token limit cuts off no page."""
    with run_server(model_store, {"CHANDRA_MAX_OUTPUT_TOKENS": "400"}) as server:
        yield server


def post_page(client, body: bytes, media_type: str, **options: str):
    return client.post(body, media_type, include_headers_footers="true", **options)


PAGE = render_named_page("eleven")
BLACK_AND_WHITE = PAGE.image.convert("1", dither=Image.Dither.NONE)
OTHER_PAGES = [render_named_page(name) for name in ("two", "four", "eight", "thirteen")]


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        pytest.param(documents.as_png(PAGE.image), "image/png", id="png"),
        pytest.param(
            documents.as_jpeg(PAGE.image, quality=90), "image/jpeg", id="jpeg"
        ),
        pytest.param(documents.as_webp(PAGE.image), "image/webp", id="webp"),
        pytest.param(documents.as_gif(PAGE.image), "image/gif", id="gif"),
        pytest.param(documents.as_bmp(PAGE.image), "image/bmp", id="bmp"),
        pytest.param(documents.as_tiff(PAGE.image), "image/tiff", id="tiff"),
        pytest.param(documents.as_tiff(BLACK_AND_WHITE), "image/tiff", id="1 bit"),
        pytest.param(documents.as_png(PAGE.image.convert("L")), "image/png", id="grey"),
        pytest.param(
            documents.as_jpeg(PAGE.image.convert("CMYK"), quality=90),
            "image/jpeg",
            id="cmyk",
        ),
    ],
)
def test_a_page_is_read_in_every_format_and_colour_space(client, body, media_type):
    check_pages(post_page(client, body, media_type), PAGE)


def test_sixteen_bits_a_pixel_are_read(client):
    grey = np.asarray(PAGE.image.convert("L"), dtype=np.uint16)
    deep = Image.fromarray(grey * 257)

    check_pages(post_page(client, documents.as_png(deep), "image/png"), PAGE)


def test_black_letters_on_transparent_paper_are_read(client):
    ink = Image.eval(PAGE.image.convert("L"), lambda value: 255 - value)
    clear = Image.new("RGBA", PAGE.image.size, (0, 0, 0, 0))
    clear.putalpha(ink)

    check_pages(post_page(client, documents.as_png(clear), "image/png"), PAGE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_read_upright_as_its_exif_says(client, orientation):
    photograph = documents.oriented_jpeg(PAGE.image, orientation)

    check_pages(post_page(client, photograph, "image/jpeg"), PAGE)


def test_the_frames_of_a_tiff_are_read_in_order(client):
    pages = OTHER_PAGES[:3]
    tiff = documents.as_tiff(*(page.image for page in pages))

    check_pages(post_page(client, tiff, "image/tiff"), *pages)


def make_scanned_pdf(pages: Iterable[RenderedPage]) -> bytes:
    first, *rest = [page.image for page in pages]
    # At 96 dots per inch a point is 4/3 pixels, so the page keeps its size in pixels.
    return documents.as_pdf(first, *rest, resolution=96)


def test_a_range_of_a_scanned_pdf_is_read(client):
    answer = post_page(
        client, make_scanned_pdf(OTHER_PAGES), "application/pdf", pages="2,4"
    )

    check_pages(answer, OTHER_PAGES[1], OTHER_PAGES[3])


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_a_turned_page_of_a_pdf_is_read_upright(client, rotation):
    # The picture is turned counter-clockwise, and /Rotate turns it back.
    rotated_page = documents.as_pdf(
        PAGE.image.rotate(rotation, expand=True), resolution=96
    )
    document = documents.rotated(rotated_page, rotation)

    check_pages(post_page(client, document, "application/pdf"), PAGE)


def test_letters_drawn_by_a_pdf_are_read(client):
    lines = ["Invoice 4711", "Two pens, blue", "Total: 3.20"]
    letters = documents.pdf([lines], size=(360, 450))

    check_texts(post_page(client, letters, "application/pdf"), " ".join(lines))


def test_blocks_have_the_right_label_and_position(client):
    answer = post_page(client, documents.as_png(PAGE.image), "image/png").json()

    [page_read] = answer["pages"]
    for true_block in true_content(PAGE).blocks:
        assert any(
            block["label"] == true_block.label
            and compute_iou(tuple(block["bbox"]), true_block.bbox) > 0.5
            for block in page_read["blocks"]
        ), true_block
