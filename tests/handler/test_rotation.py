"""Boxes of a page that was turned before it was read."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from PIL import Image

from handler.postprocess import ConversionOptions, PageGeometry, convert_page
from handler.preprocess.page.examine import rotate_image
from handler.profiles import BboxFormat
from handler.rotation import turned_box, turned_size

QUARTERS = st.sampled_from([0, 90, 180, 270])
SIDES = st.integers(1, 30)


@st.composite
def pages_and_boxes(draw):
    width, height = draw(SIDES), draw(SIDES)
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    right = draw(st.integers(left + 1, width))
    bottom = draw(st.integers(top + 1, height))
    return width, height, (left, top, right, bottom)


@given(pages_and_boxes(), QUARTERS)
def test_a_box_turned_forth_and_back_is_the_same(page_and_box, degrees):
    width, height, box = page_and_box

    turned_forth = turned_box(box, degrees, width, height)
    back = turned_box(turned_forth, -degrees, *turned_size(width, height, degrees))

    assert back == box


@given(pages_and_boxes(), QUARTERS)
def test_a_box_turns_as_the_pixels_do(page_and_box, degrees):
    width, height, box = page_and_box
    page = Image.new("RGB", (width, height))
    page.paste("white", box)

    image = rotate_image(page, degrees)

    assert image.size == turned_size(width, height, degrees)
    assert image.getbbox() == turned_box(box, degrees, width, height)


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [
        (0, (0, 0, 100, 200)),
        (90, (0, 600, 100, 800)),
        (180, (300, 600, 400, 800)),
        (270, (300, 0, 400, 200)),
    ],
)
def test_boxes_refer_to_the_page_as_it_was_sent(rotation, expected):
    raw = '<div data-bbox="[0, 0, 256, 256]" data-label="Figure"></div>'

    content = convert_page(
        raw,
        PageGeometry(1, 400, 800, BboxFormat.JSON_1024, rotation),
        ConversionOptions("ocr_layout", include_images=True),
    )

    assert content.blocks[0].bbox == expected
    assert list(content.figures.values()) == [expected]
