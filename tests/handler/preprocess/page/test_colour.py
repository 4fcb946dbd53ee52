"""Tests of text that differs from its background in colour only."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from handler.preprocess import DecodeOptions
from handler.preprocess.page.examine import examine, rotate_image
from tests.documents import as_png
from tests.handler.preprocess.reading import CHANDRA, decode_content

SIZE = (900, 1200)
COLOURS = [
    ("#ff0000", "#008000"),
    ("#ff0000", "#4c4cff"),
    ("#00a000", "#c04000"),
    ("#808080", "#808000"),
]


def coloured_page(ground, ink, size=SIZE, height=26, num_lines=12):
    page = Image.new("RGB", size, ground)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(height)
    for row in range(num_lines):
        place = (100, 100 + round(1.6 * height * row))
        draw.text(place, "The ferry left at 9.40 with 212 people.", ink, font)
    return page


@pytest.mark.parametrize("is_exchanged", [False, True])
@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize("num_lines", [1, 12])
def test_text_of_equal_luminance_is_not_blank(colours, is_exchanged, num_lines):
    ground, ink = reversed(colours) if is_exchanged else colours
    page = coloured_page(ground, ink, num_lines=num_lines)

    examined = examine(page, DecodeOptions())

    assert not examined.is_blank
    assert examined.image is page


def test_rotated_page_of_coloured_text_is_rotated_back():
    page = coloured_page("#ff0000", "#008000", num_lines=25)

    assert examine(rotate_image(page, 90), DecodeOptions()).rotation == 270


def test_long_page_of_coloured_text_is_read_in_strips():
    page = coloured_page("#ff0000", "#008000", (700, 11_000), height=16, num_lines=400)

    decoded = decode_content(as_png(page), sizing=CHANDRA)

    assert not decoded.is_blank
    assert len(decoded.strips) > 1


def noisy_page(colour, deviation, grain, quality=None):
    noise = np.random.default_rng(1).normal(0, deviation, (SIZE[1], SIZE[0], 3))
    width, height = (side // grain for side in SIZE)
    noise = np.repeat(np.repeat(noise[:height, :width], grain, 0), grain, 1)
    pixels = np.array(colour) + noise
    page = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if quality is None:
        return page
    stream = io.BytesIO()
    page.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


@pytest.mark.parametrize("quality", [None, 25])
@pytest.mark.parametrize("colour", [(250, 248, 245), (232, 205, 150), (255, 0, 0)])
def test_coloured_noise_is_not_ink(colour, quality):
    for deviation, grain in ((12, 1), (5, 4)):
        page = noisy_page(colour, deviation, grain, quality)

        assert examine(page, DecodeOptions()).is_blank


def test_paper_with_yellowed_edges_is_blank():
    x, y = np.meshgrid(*(np.abs(np.linspace(-1, 1, side)) for side in SIZE))
    age = (np.maximum(x, y) ** 6)[..., None]
    pixels = (1 - age) * (250, 248, 240) + age * (215, 175, 100)
    page = Image.fromarray(pixels.astype(np.uint8))

    assert examine(page, DecodeOptions()).is_blank


def test_colour_fringes_of_holes_and_dust_are_not_ink():
    bands, rng = [], np.random.default_rng(2)
    dust = [(int(x), int(y)) for x, y in rng.integers(50, 880, (60, 2))]
    for shift, paper in enumerate((250, 247, 240)):
        band = Image.new("L", SIZE, paper)
        draw = ImageDraw.Draw(band)
        for x, y in itertools.chain(dust, [(20, 1100)]):
            draw.rectangle((x + shift, y, x + 1 + shift, y + 2), fill=30)
        draw.ellipse((60 + shift, 500, 92 + shift, 532), fill=20)
        draw.rectangle((0, 0, 40 + shift, SIZE[1]), fill=5)
        bands.append(band)

    assert examine(Image.merge("RGB", bands), DecodeOptions()).is_blank
