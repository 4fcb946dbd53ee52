"""Tests of the division of long pages into strips."""

from __future__ import annotations

import dataclasses
import io
import re

import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageFont
from reportlab.pdfgen.canvas import Canvas

from handler.preprocess import Limits, decode_strip, media_type_of, target_size
from handler.preprocess.decode_options import DecodeOptions
from handler.preprocess.page.examine import rotate_image
from handler.preprocess.page.line_height import InkProfile, measure_line_height
from handler.preprocess.page.strips import divide_page
from handler.schema import MAX_STRIPS
from tests.documents import as_png, pdf, spooled, text_page
from tests.handler.preprocess.reading import (
    CHANDRA,
    CHANDRA_2,
    MINI,
    colour_at,
    decode_content,
    to_image,
)


def make_lines(num: int) -> list[str]:
    return [f"Line {number}: the ferry left at 9.40" for number in range(num)]


def long_image(num: int, size: int = 14, pitch: int = 20) -> Image.Image:
    """Return an image of `num` lines of small text."""
    image = Image.new("RGB", (400, num * pitch + 2 * pitch), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    for row, line in enumerate(make_lines(num)):
        draw.text((10, pitch * (row + 1)), line, fill="black", font=font)
    return image


def long_pdf(num: int) -> bytes:
    """Return a PDF page with lines of 26 points at a distance of 44 points."""
    return pdf([make_lines(num)], size=(640, 100 + 44 * num))


def rotated_long_pdf(num: int, degrees: int) -> bytes:
    """Return `long_pdf` with its text rotated clockwise."""
    width, height = 640, 100 + 44 * num
    stream = io.BytesIO()
    size = (height, width) if degrees % 180 else (width, height)
    canvas = Canvas(stream, pagesize=size, invariant=True)
    canvas.translate(*{90: (0, width), 180: (width, height), 270: (height, 0)}[degrees])
    canvas.rotate(-degrees)
    canvas.setFont("Helvetica", 26)
    for row, line in enumerate(make_lines(num)):
        canvas.drawString(72, height - 72 - 44 * row, line)
    canvas.save()
    return stream.getvalue()


def decode_strips(content: bytes, page, sizing, options=DecodeOptions()):
    """Decode all strips of a page, which `decode_content` returned."""
    media_type = media_type_of(content)
    assert media_type is not None
    with spooled(content) as document:
        return [
            decode_strip(document, media_type, page, index, sizing, Limits(), options)
            for index in range(len(page.strips))
        ]


def warning_codes(page):
    return [warning.code for warning in page.warnings]


gaps_and_line_heights = st.lists(
    st.tuples(st.integers(-6, 40), st.integers(8, 16)), min_size=60, max_size=300
)


@settings(max_examples=60, deadline=None)
@given(gaps_and_line_heights, st.booleans())
def test_every_line_is_complete_in_at_least_one_strip(gaps_and_heights, is_wide):
    # Negative gaps make lines overlap, as in a scan with a slight skew.
    lines, end = [], 0
    for gap, height in gaps_and_heights:
        top = max(0, end + gap)
        end = top + height
        lines.append((top, end))
    long = end + 10
    levels = bytearray(long)
    for top, bottom in lines:
        levels[top:bottom] = b"\x10" * (bottom - top)
    ink = InkProfile(12.0, bytes(levels), 1.0)
    size = (30, long) if not is_wide else (long, 30)

    # The wide page is two lines high. The tall page has the same shape.
    strips = divide_page(
        *size, (32, 32), MINI, 1.0, ink, lambda w, h: target_size(w, h, MINI)
    ).strips

    axis = 0 if is_wide else 1
    ranges = [(strip.box[axis], strip.box[axis + 2]) for strip in strips]
    assert strips
    assert len(strips) <= MAX_STRIPS
    for top, bottom in lines:
        assert any(low <= top and bottom <= high for low, high in ranges)


def test_strips_of_a_long_image_end_between_lines():
    content = as_png(long_image(200))

    page = decode_content(content, sizing=MINI)

    assert warning_codes(page)[-1] == "strips"
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

    page = decode_content(content, sizing=sizing)
    parts = decode_strips(content, page, sizing)

    assert len(parts) > 2
    texts = [line for part in parts for line in part.text_layer.splitlines()]
    assert texts == make_lines(300)


def test_pdf_strip_is_rendered_at_legible_resolution():
    content = long_pdf(300)
    page = decode_content(content, sizing=CHANDRA)

    parts = decode_strips(content, page, CHANDRA)

    for part in parts:
        image = Image.frombytes(
            "RGB", (part.pixel_width, part.pixel_height), part.pixels
        )
        height = measure_line_height(image)
        assert height is not None
        assert height >= CHANDRA.min_line_pixels


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_strips_of_rotated_and_upright_image_are_equal(degrees):
    upright = long_image(200)
    content = as_png(rotate_image(upright, degrees))
    expected = decode_content(as_png(upright), sizing=MINI)

    page = decode_content(content, sizing=MINI)

    assert page.rotation == (360 - degrees) % 360
    assert page.strips == expected.strips
    assert page.is_consistent
    parts = decode_strips(content, page, MINI)
    upright_parts = decode_strips(as_png(upright), expected, MINI)
    assert [p.pixels for p in parts] == [p.pixels for p in upright_parts]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_strips_of_rotated_pdf_page_are_upright_with_text(degrees):
    content = rotated_long_pdf(300, degrees)

    page = decode_content(content, sizing=MINI)
    parts = decode_strips(content, page, MINI)

    assert page.rotation == (360 - degrees) % 360
    # pdfium extracts rotated lines in another order, and may join several of them.
    line_numbers = [
        map(int, re.findall(r"Line (\d+):", part.text_layer)) for part in parts
    ]
    assert [number for numbers in line_numbers for number in sorted(numbers)] == [
        *range(300)
    ]
    for part in parts:
        gray = to_image(part).convert("L")
        ink = ImageChops.invert(gray).getbbox()
        # Lines begin at the left, and the right margin is wide.
        assert part.height > part.width
        assert ink is not None
        assert ink[0] < gray.width - ink[2]


def test_strips_of_light_text_on_dark_are_inverted():
    content = as_png(ImageChops.invert(long_image(200)))

    page = decode_content(content, sizing=MINI)

    assert warning_codes(page) == ["light_on_dark", "strips"]
    for part in decode_strips(content, page, MINI):
        assert colour_at(part, 0.99, 0.5) == (255, 255, 255)


def test_strips_of_encrypted_pdf_use_the_password():
    lines = make_lines(300)
    content = pdf([lines], password="secret", size=(640, 100 + 44 * len(lines)))
    options = DecodeOptions(password="secret")

    page = decode_content(content, sizing=MINI, options=options)
    parts = decode_strips(content, page, MINI, options)

    assert parts[0].text_layer.startswith(lines[0])


def test_strips_of_half_size_image_are_in_original_pixels():
    image = long_image(150).convert("1").resize((2_000, 30_400))
    content = as_png(image)

    page = decode_content(content, sizing=MINI)
    last = dataclasses.replace(page, strips=page.strips[-1:])
    [part] = decode_strips(content, last, MINI)

    assert (page.width, page.height) == image.size
    assert page.strips[-1].box[2:] == image.size
    assert sum(strip.height for strip in page.strips) == 30_400
    height = measure_line_height(to_image(part))
    assert height is not None
    assert height >= MINI.min_line_pixels


def test_strip_with_only_dust_is_blank():
    image = Image.new("RGB", (400, 8000), "white")
    image.paste(long_image(60), (0, 0))
    for row in range(2000, 8000, 150):
        image.paste("black", (row % 350, row, row % 350 + 2, row + 2))
    content = as_png(image)

    page = decode_content(content, sizing=MINI)
    parts = decode_strips(content, page, MINI)

    is_empty = [strip.box[1] > 1240 for strip in page.strips]
    assert [part.is_blank for part in parts] == is_empty
    assert any(is_empty)


def test_strips_of_faint_text_are_read():
    image = long_image(200)
    faint = Image.new("RGB", image.size, "white")
    faint.paste(image.point([205 + value * 50 // 255 for value in range(256)] * 3))
    # Only the lines of the first strip have enough contrast to be measured.
    faint.paste(image.crop((0, 0, 400, 300)))

    page = decode_content(as_png(faint), sizing=MINI)

    assert [strip.box[3] for strip in page.strips][-1] == image.height


def test_mark_too_small_on_the_page_is_found_in_its_strip():
    lines = [""] * 299 + ["The ferry left"]
    content = pdf([lines], size=(640, 100 + 44 * len(lines)))

    page = decode_content(content, sizing=MINI)
    parts = decode_strips(content, page, MINI)

    assert [part.text_layer for part in parts if not part.is_blank] == [
        "The ferry left"
    ]
    assert "blank_page" not in warning_codes(page)


def test_strips_without_text_are_omitted():
    image = Image.new("RGB", (400, 8000), "white")
    image.paste(long_image(30), (0, 0))

    page = decode_content(as_png(image), sizing=MINI)

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

    page = decode_content(as_png(image), sizing=MINI)

    assert all(strip.overlap > 20 for strip in page.strips[1:])


def test_single_line_of_a_wide_image_is_divided():
    image = Image.new("RGB", (6000, 30), "white")
    text = " ".join(["The ferry left at 9.40 with 40 people."] * 20)
    ImageDraw.Draw(image).text(
        (5, 5), text, fill="black", font=ImageFont.load_default(16)
    )

    page = decode_content(as_png(image), sizing=MINI)

    assert len(page.strips) > 4
    assert [strip.box[1::2] for strip in page.strips] == [(0, 30)] * len(page.strips)


def test_reduced_warning_states_the_scale_factor():
    page = Image.new("RGB", (2000, 1750), "white")
    draw = ImageDraw.Draw(page)
    for row in range(100):
        draw.text(
            (50, 50 + 15 * row),
            "The ferry left at 9.40 with 40 people. " * 4,
            fill="black",
            font=ImageFont.load_default(10),
        )

    decoded = decode_content(as_png(page), sizing=MINI)

    assert decoded.strips == ()
    assert warning_codes(decoded) == ["reduced"]
    assert "0.32 of its size" in decoded.warnings[0].detail


def page_of_small_print(size, height, num_columns):
    """Return a large page with columns of small print."""
    page = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(height)
    step = size[0] // num_columns
    for row in range(size[1] // (2 * height) - 2):
        text = f"Line {row} total {37 * row} harbour"
        for column in range(num_columns):
            place = (20 + column * step, 2 * height * (row + 1))
            draw.text(place, text, fill="black", font=font)
    return page


def test_lines_of_a_large_image_are_measured_at_full_size():
    # A line is 2 pixels high when the short side is reduced to 1024 pixels.
    decoded = decode_content(
        as_png(page_of_small_print((4600, 4200), 12, 8)), sizing=CHANDRA
    )

    assert warning_codes(decoded) == ["reduced"]
    assert "lines of text are about" in decoded.warnings[0].detail


def test_small_lines_of_a_pdf_page_are_measured():
    rows = ["The ferry left at 9.40 with 212 people. " * 4] * 100
    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=(3000, 3000), invariant=True)
    canvas.setFont("Helvetica", 4)
    for row, text in enumerate(rows * 3):
        for left in range(0, 3000, 600):
            canvas.drawString(left, 2980 - 7 * row, text)
    canvas.save()

    decoded = decode_content(stream.getvalue(), sizing=CHANDRA)

    assert warning_codes(decoded) == ["reduced"]
    assert "lines of text are about" in decoded.warnings[0].detail


def test_small_lines_of_a_long_page_make_strips():
    decoded = decode_content(
        as_png(page_of_small_print((3100, 7000), 9, 6)), sizing=CHANDRA
    )

    assert warning_codes(decoded) == ["strips"]


def test_large_photograph_has_no_reduced_warning():
    stream = io.BytesIO()
    Image.effect_noise((350, 250), 120).resize((4550, 3250)).save(stream, "JPEG")

    decoded = decode_content(stream.getvalue(), sizing=CHANDRA)

    assert decoded.warnings == ()


def test_enlarged_image_has_no_reduced_warning():
    line = Image.new("RGB", (200, 1), "white")
    ImageDraw.Draw(line).line((60, 0, 140, 0), fill="black")

    decoded = decode_content(as_png(line), sizing=CHANDRA)

    assert decoded.pixel_width > decoded.width
    assert "reduced" not in warning_codes(decoded)


def test_warning_uses_the_singular_for_one_strip():
    page = Image.new("RGB", (2400, 40), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(24)
    draw.text((40, 4), "The ferry left at 9.40", fill="black", font=font)

    decoded = decode_content(as_png(page), sizing=MINI)

    assert len(decoded.strips) == 1
    assert "was read in one strip" in decoded.warnings[0].detail


@pytest.mark.parametrize("sizing", [CHANDRA, CHANDRA_2])
def test_a4_page_is_not_divided(sizing):
    page = decode_content(pdf([make_lines(25)]), sizing=sizing)

    assert page.strips == ()
    assert page.warnings == ()


def test_max_side_applies_to_strips():
    capped = dataclasses.replace(MINI, max_side=400)
    content = as_png(long_image(150))

    page = decode_content(content, sizing=capped)
    parts = decode_strips(content, page, capped)

    assert parts
    assert max(max(part.pixel_width, part.pixel_height) for part in parts) <= 416


def test_line_height_is_measured():
    page = text_page(make_lines(12), size=(640, 800))

    height = measure_line_height(page)

    # The letters are 25 pixels high from ascender to descender.
    assert height is not None
    assert 15 <= height <= 27


@pytest.mark.parametrize("is_light_on_dark", [False, True])
def test_line_height_does_not_depend_on_the_background(is_light_on_dark):
    page = text_page(make_lines(12), size=(640, 800)).convert("L")
    if is_light_on_dark:
        page = page.point([255 - value for value in range(256)])

    assert measure_line_height(page.convert("RGB")) == measure_line_height(
        text_page(make_lines(12), size=(640, 800))
    )


@pytest.mark.parametrize("text", ["l'impayé", "The big house", "WWW", "iiiii"])
def test_one_line_of_large_letters_is_not_many_lines(text):
    page = Image.new("RGB", (1300, 300), "white")
    font = ImageFont.load_default(150)
    ImageDraw.Draw(page).text((60, 60), text, fill="black", font=font)

    height = measure_line_height(page)

    assert height is None or height > 30
    assert decode_content(as_png(page), sizing=MINI).strips == ()


def test_photograph_has_no_line_height():
    assert measure_line_height(Image.linear_gradient("L").convert("RGB")) is None
    photograph = Image.radial_gradient("L").resize((900, 900)).convert("RGB")
    assert decode_content(as_png(photograph), sizing=MINI).warnings == ()
