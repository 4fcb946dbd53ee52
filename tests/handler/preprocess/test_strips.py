"""Long pages are divided into strips, between lines where that can be done."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageDraw, ImageFont

from handler.preprocess import Limits, media_type_of, page_at, strip_at, target_size
from handler.preprocess.page.lines import Ink, line_height_of
from handler.preprocess.page.strips import divide
from handler.schema import MAX_STRIPS
from tests.documents import as_png, pdf, spooled, text_page
from tests.handler.preprocess.reading import CHANDRA, CHANDRA_2, MINI, page_of


def lines_of(num: int) -> list[str]:
    return [f"Line {number}: the ferry left at 9.40" for number in range(num)]


def long_image(num: int, size: int = 14, pitch: int = 20) -> Image.Image:
    """Lines of small text, far more than a page has."""
    image = Image.new("RGB", (400, num * pitch + 2 * pitch), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    for row, line in enumerate(lines_of(num)):
        draw.text((10, pitch * (row + 1)), line, fill="black", font=font)
    return image


def long_pdf(num: int) -> bytes:
    """Lines of 26 points, 44 apart, on one page."""
    return pdf([lines_of(num)], size=(640, 100 + 44 * num))


def strips_of(content: bytes, page, sizing):
    media_type = media_type_of(content)
    assert media_type is not None
    with spooled(content) as document:
        return [
            strip_at(document, media_type, 1, strip, sizing, Limits())
            for strip in page.strips
        ]


def codes_of(page):
    return [warning.code for warning in page.warnings]


lines_on_a_page = st.lists(
    st.tuples(st.integers(-6, 40), st.integers(8, 16)), min_size=60, max_size=300
)


@settings(max_examples=60, deadline=None)
@given(lines_on_a_page, st.booleans())
def test_every_line_is_whole_in_at_least_one_strip(gaps_and_heights, is_wide):
    # Gaps below 0 make lines overlap, as on a scan that is not quite upright.
    lines, end = [], 0
    for gap, height in gaps_and_heights:
        top = max(0, end + gap)
        end = top + height
        lines.append((top, end))
    long = end + 10
    levels = bytearray(long)
    for top, bottom in lines:
        levels[top:bottom] = b"\x10" * (bottom - top)
    ink = Ink(12.0, bytes(levels), 1.0)
    size = (30, long) if not is_wide else (long, 30)

    # A wide page as high as two lines, and a tall one of the same shape.
    strips = divide(
        *size, (32, 32), MINI, 1.0, ink, lambda w, h: target_size(w, h, MINI)
    ).strips

    axis = 0 if is_wide else 1
    ranges = [(strip.box[axis], strip.box[axis + 2]) for strip in strips]
    assert strips
    assert len(strips) <= MAX_STRIPS
    for top, bottom in lines:
        assert any(low <= top and bottom <= high for low, high in ranges)


def test_a_long_image_is_read_in_strips_that_end_between_lines():
    content = as_png(long_image(200))

    page = page_of(content, sizing=MINI)

    assert codes_of(page)[-1] == "strips"
    assert page.pixels == b""
    assert page.is_consistent
    assert [strip.overlap for strip in page.strips] == [0] * len(page.strips)
    image = long_image(200).convert("L")
    for strip in page.strips[1:]:
        row = image.crop((0, strip.box[1], 400, strip.box[1] + 1))
        assert row.getextrema()[0] == 255


@pytest.mark.parametrize("sizing", [CHANDRA, CHANDRA_2, MINI])
def test_lines_of_a_long_pdf_page_are_each_in_one_strip(sizing):
    content = long_pdf(300)

    page = page_of(content, sizing=sizing)
    parts = strips_of(content, page, sizing)

    assert len(parts) > 2
    texts = [line for part in parts for line in part.text_layer.splitlines()]
    assert texts == lines_of(300)


def test_the_strip_of_a_pdf_is_drawn_as_fine_as_a_page():
    content = long_pdf(300)
    page = page_of(content, sizing=CHANDRA)

    parts = strips_of(content, page, CHANDRA)

    for part in parts:
        image = Image.frombytes(
            "RGB", (part.pixel_width, part.pixel_height), part.pixels
        )
        height = line_height_of(image)
        assert height is not None
        assert height >= CHANDRA.min_line_pixels


def test_strips_without_a_line_are_left_out():
    image = Image.new("RGB", (400, 8000), "white")
    image.paste(long_image(30), (0, 0))

    page = page_of(as_png(image), sizing=MINI)

    assert page.strips
    assert max(strip.box[3] for strip in page.strips) < 4000


def test_lines_without_gaps_make_strips_overlap():
    image = Image.new("RGB", (400, 8000), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(14)
    # Two columns whose lines are half a line apart.
    for row in range(380):
        draw.text((10, 20 + 20 * row), "The ferry left", fill="black", font=font)
        draw.text((210, 30 + 20 * row), "with 40 people", fill="black", font=font)

    page = page_of(as_png(image), sizing=MINI)

    assert all(strip.overlap > 20 for strip in page.strips[1:])


def test_a_line_of_a_wide_image_is_read_in_strips():
    image = Image.new("RGB", (6000, 30), "white")
    text = " ".join(["The ferry left at 9.40 with 40 people."] * 20)
    ImageDraw.Draw(image).text(
        (5, 5), text, fill="black", font=ImageFont.load_default(16)
    )

    page = page_of(as_png(image), sizing=MINI)

    assert len(page.strips) > 4
    assert [strip.box[1::2] for strip in page.strips] == [(0, 30)] * len(page.strips)


def test_a_page_too_wide_for_strips_has_a_warning_with_the_factor():
    page = Image.new("RGB", (2000, 1750), "white")
    draw = ImageDraw.Draw(page)
    for row in range(100):
        draw.text(
            (50, 50 + 15 * row),
            "The ferry left at 9.40 with 40 people. " * 4,
            fill="black",
            font=ImageFont.load_default(10),
        )

    read = page_of(as_png(page), sizing=MINI)

    assert read.strips == ()
    assert codes_of(read) == ["reduced"]
    assert "0.32 of its size" in read.warnings[0].detail


@pytest.mark.parametrize("sizing", [CHANDRA, CHANDRA_2])
def test_a_page_of_a4_is_read_as_a_whole_without_a_warning(sizing):
    page = page_of(pdf([lines_of(25)]), sizing=sizing)

    assert page.strips == ()
    assert page.warnings == ()


def test_a_side_limit_bounds_strips_too():
    capped = dataclasses.replace(MINI, max_side=400)
    content = as_png(long_image(150))

    page = page_of(content, sizing=capped)
    parts = strips_of(content, page, capped)

    assert parts
    assert max(max(part.pixel_width, part.pixel_height) for part in parts) <= 416


def test_the_height_of_lines_is_measured():
    page = text_page(lines_of(12), size=(640, 800))

    height = line_height_of(page)

    # Letters of 25 pixels, from ascender to descender.
    assert height is not None
    assert 15 <= height <= 27


@pytest.mark.parametrize("is_light_on_dark", [False, True])
def test_lines_are_measured_on_any_background(is_light_on_dark):
    page = text_page(lines_of(12), size=(640, 800)).convert("L")
    if is_light_on_dark:
        page = page.point([255 - value for value in range(256)])

    assert line_height_of(page.convert("RGB")) == line_height_of(
        text_page(lines_of(12), size=(640, 800))
    )


def test_a_photograph_without_lines_has_no_line_height():
    assert line_height_of(Image.linear_gradient("L").convert("RGB")) is None
    with spooled(as_png(Image.new("RGB", (900, 900), "gray"))) as document:
        assert page_at(document, "image/png", 1, MINI, Limits()).warnings == ()
