"""Tests of pages that lie on a side or upside down."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from bench.orientation.figures import render_figure, square_signs
from bench.orientation.pages import LAYOUTS, degrade, render_small_print, render_text
from handler.preprocess import DecodeOptions, crop_images
from handler.preprocess.limits import Limits
from handler.preprocess.page.examine import examine, rotate_image
from handler.profiles import PROFILES
from tests.documents import as_png, spooled
from tests.handler.preprocess.reading import decode_content, to_image

SIZING = PROFILES["mini"].sizing


def scanned_pages(seed, scripts=("latin", "cyrillic", "greek", "digits")):
    """Yield a page of each layout as a scanner delivers it, in alternating scripts."""
    rng = random.Random(seed)
    for number, layout in enumerate(LAYOUTS):
        page = render_text(rng, layout, scripts[number % len(scripts)])
        yield degrade(rng, page).convert("RGB")


PAGES = list(scanned_pages(7))


def rotation_of(page):
    return examine(page, DecodeOptions()).rotation


def test_upright_pages_are_not_rotated():
    assert [rotation_of(page) for page in PAGES] == [0] * len(PAGES)


@pytest.mark.parametrize("is_prose", [True, False])
@pytest.mark.parametrize(
    ("size", "num_columns", "points"),
    [
        ((800, 600), 3, 4),
        ((1600, 1400), 3, 9),
        ((3400, 2700), 5, 12),
    ],
)
def test_upright_small_print_is_not_rotated(size, num_columns, points, is_prose):
    rng = random.Random(points)
    page = render_small_print(rng, size, num_columns, points, is_prose)

    assert rotation_of(page.convert("RGB")) == 0


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotated_pages_are_rotated_back(degrees):
    rotations = [rotation_of(rotate_image(page, degrees)) for page in PAGES]

    # One of the nine pages may keep its orientation, but no rotation may be wrong.
    assert set(rotations) <= {0, 360 - degrees}
    assert rotations.count(360 - degrees) >= len(PAGES) - 1


@pytest.mark.parametrize("kind", ["photo", "chart", "drawing", "bars", "waves"])
def test_pictures_are_not_rotated(kind):
    rng = random.Random(3)

    assert [rotation_of(render_figure(rng, kind).convert("RGB")) for _ in "abc"] == [
        0
    ] * 3


@pytest.mark.parametrize("cell", [14, 20, 28])
def test_vertical_columns_of_characters_are_not_rotated(cell):
    page = square_signs(random.Random(cell), 1100, cell)

    assert rotation_of(page.convert("RGB")) == 0


def test_rotated_table_below_upright_text_is_not_rotated():
    text, table = (
        render_text(random.Random(5), layout, "latin").resize((1240, 1754))
        for layout in ("prose", "table")
    )
    page = text.copy()
    page.paste(rotate_image(table, 90).crop((0, 0, 1240, 877)), (0, 877))

    assert rotation_of(page.convert("RGB")) == 0


def test_rotated_page_has_the_input_of_the_upright_page():
    page = render_text(random.Random(1), "two_columns", "latin")
    sent = rotate_image(page, 90).convert("RGB")

    upright, read = (
        decode_content(as_png(page.convert("RGB"))),
        decode_content(as_png(sent)),
    )

    assert read.rotation == 270
    assert (read.width, read.height) == sent.size
    assert to_image(read).tobytes() == to_image(upright).tobytes()


def test_detection_can_be_disabled():
    sent = rotate_image(PAGES[0], 180)

    page = decode_content(as_png(sent), options=DecodeOptions(detect_rotation=False))

    assert page.rotation == 0


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_cropped_image_is_rotated_with_its_page(degrees):
    page = Image.new("RGB", (60, 80), "white")
    ImageDraw.Draw(page).rectangle((10, 20, 29, 59), fill="red")
    ImageDraw.Draw(page).rectangle((10, 20, 29, 25), fill="blue")

    with spooled(as_png(page)) as document:
        crops = crop_images(
            document,
            "image/png",
            1,
            SIZING,
            Limits(),
            {"figure": (10, 20, 30, 60)},
            rotation=degrees,
        )

    figure = Image.open(io.BytesIO(crops["figure"])).convert("RGB")
    expected = rotate_image(page.crop((10, 20, 30, 60)), degrees)
    assert figure.size == expected.size
    corners = np.s_[3 :: figure.height - 7, 3 :: figure.width - 7]
    difference = np.asarray(figure, np.int16) - np.asarray(expected, np.int16)
    assert np.abs(difference[corners]).max() < 80
