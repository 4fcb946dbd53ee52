"""Ink that one rendering of a page has and another lacks."""

from __future__ import annotations

from PIL import Image, ImageDraw

from bench.forms import compare_page, count_missing_ink
from tests.documents import pdf_with_form_and_annotation


def draw_boxes(*boxes):
    image = Image.new("RGB", (200, 200), "white")
    draw = ImageDraw.Draw(image)
    for box in boxes:
        draw.rectangle(box, fill="black")
    return image


def test_missing_word_is_counted():
    assert count_missing_ink(draw_boxes((20, 20, 29, 29)), draw_boxes()) == 100


def test_ink_moved_by_a_pixel_is_not_missing():
    assert (
        count_missing_ink(draw_boxes((20, 20, 29, 29)), draw_boxes((21, 21, 30, 30)))
        == 0
    )


def test_page_with_form_shows_what_flattening_shows(tmp_path):
    path = tmp_path / "form.pdf"
    path.write_bytes(pdf_with_form_and_annotation())

    difference = compare_page(path, 1)

    assert difference.flattened_only == 0
