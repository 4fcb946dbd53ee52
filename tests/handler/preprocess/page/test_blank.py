"""Tests of the detection of blank pages."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from handler.preprocess.page.blank import has_ink
from handler.preprocess.page.ink import find_ink, small_gray
from tests.documents import as_png
from tests.handler.preprocess.reading import CHANDRA, decode_content

SIZE = (1240, 1754)
SENTENCE = "The ferry left at 9.40 with 212 people."


def blank_paper(gray=255):
    return Image.new("L", SIZE, gray)


def draw_lines(page, gray, num_lines=20, size=26, text=SENTENCE):
    """Draw lines of text on `page`, and return it."""
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size)
    for row in range(num_lines):
        draw.text((100, 100 + 2 * size * row), text, fill=gray, font=font)
    return page


def is_blank(page):
    """Return True if no ink is detected on a page."""
    gray = small_gray(page.convert("RGB"))
    return not has_ink(gray, find_ink(gray))


def add_noise(page, deviation, grain=1):
    width, height = (side // grain for side in page.size)
    noise = np.random.default_rng(1).normal(0, deviation, (height, width))
    grains = Image.fromarray(noise.astype(np.float32)).resize(page.size)
    pixels = np.asarray(page, np.float32) + np.asarray(grains)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def page_with_gradient():
    shade = (
        Image.linear_gradient("L").resize(SIZE).point(lambda v: 150 + v * 100 // 255)
    )
    return add_noise(shade, 2)


def page_with_dust():
    page, rng = blank_paper(250), np.random.default_rng(2)
    draw = ImageDraw.Draw(page)
    for x, y in zip(
        rng.integers(50, 1200, 60), rng.integers(50, 1700, 60), strict=True
    ):
        draw.rectangle((int(x), int(y), int(x) + 1, int(y) + 2), fill=30)
    return page


def page_with_border():
    page = blank_paper(245)
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, 70, SIZE[1]), fill=5)
    draw.polygon([(0, 0), (SIZE[0], 0), (SIZE[0], 25), (0, 60)], fill=5)
    return page.filter(ImageFilter.GaussianBlur(1))


def page_with_holes():
    page = blank_paper(250)
    for y in (600, 1100):
        ImageDraw.Draw(page).ellipse((60, y, 92, y + 32), fill=20)
    return page


@pytest.mark.parametrize(
    "page",
    [
        blank_paper(),
        blank_paper(0),
        ImageOps.mirror(draw_lines(blank_paper(252), 243)),
        ImageOps.mirror(draw_lines(blank_paper(250), 226)),
        add_noise(blank_paper(245), 8),
        add_noise(blank_paper(240), 6, grain=2),
        page_with_gradient(),
        page_with_dust(),
        page_with_border(),
        page_with_holes(),
    ],
    ids=[
        "white",
        "black",
        "bleed-through",
        "strong bleed-through",
        "noise",
        "texture",
        "gradient",
        "dust",
        "border",
        "punch holes",
    ],
)
def test_page_without_ink_is_blank(page):
    assert is_blank(page)


def page_with_page_number():
    page = blank_paper()
    font = ImageFont.load_default(21)
    ImageDraw.Draw(page).text((620, 1680), "7", fill=0, font=font)
    return page


def page_with_stamp():
    page = blank_paper()
    ImageDraw.Draw(page).ellipse((900, 1300, 1050, 1450), outline=120, width=4)
    return page


def page_with_thin_table():
    page = blank_paper()
    for x in range(100, 1100, 200):
        ImageDraw.Draw(page).line((x, 100, x, 700), fill=90)
    return page


def page_of_photo():
    noise = Image.effect_noise((24, 34), 120)
    return noise.resize(SIZE, Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    "page",
    [
        draw_lines(blank_paper(), 0, num_lines=1, text="Sold"),
        page_with_page_number(),
        draw_lines(blank_paper(), 205),
        draw_lines(blank_paper(), 222),
        draw_lines(add_noise(blank_paper(244), 4), 190),
        page_with_stamp(),
        page_with_thin_table(),
        page_of_photo(),
    ],
    ids=[
        "word",
        "page number",
        "light gray text",
        "very light gray text",
        "pencil",
        "stamp",
        "thin lines",
        "photograph",
    ],
)
def test_page_with_little_ink_is_not_blank(page):
    assert not is_blank(page)


def test_blank_page_carries_a_warning():
    page = decode_content(as_png(blank_paper().convert("RGB")))

    assert page.is_blank
    assert [warning.code for warning in page.warnings] == ["blank_page"]
    assert (page.width, page.height) == SIZE


def test_page_with_text_carries_no_warning():
    page = decode_content(
        as_png(draw_lines(blank_paper(), 0).convert("RGB")), sizing=CHANDRA
    )

    assert not page.is_blank
    assert page.warnings == ()
