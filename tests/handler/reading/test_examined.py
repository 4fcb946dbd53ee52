"""Answers for pages that are blank, dark or turned."""

from __future__ import annotations

import random

import pytest
from PIL import Image, ImageOps

from bench.orientation.pages import render_text
from handler.preprocess.page.examine import rotate_image
from handler.schema import Status
from tests.documents import as_png
from tests.handler.reading.engines import FIGURE, TEXT, FakeEngines, warnings_of


@pytest.fixture(scope="module")
def upright():
    page = render_text(random.Random(1), "two_columns", "latin")
    return page.convert("RGB")


def test_a_blank_page_is_answered_without_the_engine(read):
    engines = FakeEngines({1: TEXT})

    page = read(as_png(Image.new("RGB", (600, 800), "white")), engines)[1]

    assert engines.numbers == []
    assert page.status is Status.SUCCESS
    assert page.content.text == ""
    assert warnings_of(page) == ["blank_page"]
    assert (page.width, page.height) == (600, 800)


def test_a_negative_is_read_with_a_warning(read, upright):
    content = as_png(ImageOps.invert(upright))

    page = read(content, FakeEngines({1: TEXT}))[1]

    assert "light_on_dark" in warnings_of(page)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_result_has_the_rotation_of_a_turned_page(read, upright, degrees):
    sent = rotate_image(upright, degrees)

    page = read(as_png(sent), FakeEngines({1: FIGURE}), {"include_images": True})[1]

    assert page.rotation == 360 - degrees
    assert (page.width, page.height) == sent.size
    [block] = page.content.blocks
    left, top, right, bottom = block.bbox
    assert 0 <= left < right <= page.width
    assert 0 <= top < bottom <= page.height
    assert f'data-bbox="{left} {top} {right} {bottom}"' in page.content.html
    assert len(page.images) == 1


def test_rotate_none_disables_rotation(read, upright):
    content = as_png(rotate_image(upright, 90))

    page = read(content, FakeEngines({1: TEXT}), {"rotate": "none"})[1]

    assert page.rotation == 0
