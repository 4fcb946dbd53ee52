"""Tests of pages with light text on a dark background."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from handler.preprocess import DecodeOptions
from handler.preprocess.page.examine import examine
from tests.documents import text_page

LINES = ("Harbour notes", "The ferry left at 9.40", "Fares rose to 4.50 in May") * 4


def warning_codes(page):
    return [warning.code for warning in examine(page, DecodeOptions()).warnings]


def dark_page(ground, ink, size=(900, 1200), height=28):
    page = Image.new("RGB", size, ground)
    font = ImageFont.load_default(height)
    for row, line in enumerate(LINES):
        place = (60, 60 + 2 * height * row)
        ImageDraw.Draw(page).text(place, line, fill=ink, font=font)
    return page


@pytest.mark.parametrize(
    ("ground", "ink"),
    [("black", "white"), ("#1e1e1e", "#d4d4d4"), ("#0b2a5b", "#ffe680")],
)
def test_light_text_on_dark_is_inverted(ground, ink):
    examined = examine(dark_page(ground, ink), DecodeOptions())

    assert [warning.code for warning in examined.warnings] == ["light_on_dark"]
    levels = np.asarray(examined.image.convert("L"))
    assert levels[5, 5] > 200
    assert levels.min() < 60


def test_negative_of_large_print_is_inverted():
    page = dark_page("black", "white", size=(1600, 1600), height=96)

    assert warning_codes(page) == ["light_on_dark"]


def test_dark_text_on_light_is_not_inverted():
    page = text_page(LINES, (900, 1200))

    examined = examine(page, DecodeOptions())

    assert examined.image is page
    assert examined.warnings == ()


def night_sky():
    rng = np.random.default_rng(4)
    page = Image.new("RGB", (900, 1200), (12, 12, 20))
    for x, y in zip(rng.integers(0, 900, 400), rng.integers(0, 1200, 400), strict=True):
        ImageDraw.Draw(page).ellipse((int(x), int(y), int(x) + 3, int(y) + 3), "white")
    return page


def dark_chart():
    page = Image.new("RGB", (900, 1200), (20, 20, 20))
    points = [(x, 600 + 300 * np.sin(x / 90)) for x in range(50, 850, 5)]
    ImageDraw.Draw(page).line(points, fill="white", width=3)
    ImageDraw.Draw(page).line((50, 50, 50, 1150, 850, 1150), fill="white", width=2)
    return page


def dark_photo():
    noise = Image.effect_noise((60, 80), 60).resize(
        (900, 1200), Image.Resampling.BICUBIC
    )
    return ImageOps.autocontrast(noise).point(lambda v: v // 3).convert("RGB")


@pytest.mark.parametrize("page", [night_sky(), dark_chart(), dark_photo()])
def test_dark_picture_is_not_inverted(page):
    assert "light_on_dark" not in warning_codes(page)
