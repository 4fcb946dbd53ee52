"""Errors of chandra-ocr's own conversion (`chandra.output`) that must not occur here.

Numbers 1 to 6 were seen in version 0.2.0, the others in 0.1.8.
"""

from __future__ import annotations

import pytest

from handler.profiles import BboxFormat
from tests.handler.postprocess.browser import find_dangers, render_markdown
from tests.handler.postprocess.pages import (
    convert,
    convert_block_to_markdown,
    make_block,
)


def test_1_page_without_blocks_is_not_empty():
    content = convert("<h1>Title</h1><p>Words.</p>", prompt_type="ocr")

    assert content.markdown == "# Title\n\nWords."
    assert content.text == "Title\n\nWords."
    assert "<h1>Title</h1><p>Words.</p>" in content.html
    assert [(block.label, block.bbox) for block in content.blocks] == [("Text", None)]


def test_2_blank_page_block_does_not_shift_figure_names():
    content = convert(
        make_block("", "Blank-Page") + make_block('<img alt="A"/>', "Image"),
        include_images=True,
    )

    assert list(content.figures) == ["page-1-figure-1.webp"]
    assert content.markdown == "![A](page-1-figure-1.webp)"
    assert 'src="page-1-figure-1.webp"' in content.html


def test_3_figure_block_without_an_image_gets_a_picture():
    content = convert(make_block("<p>A chart.</p>", "Figure"), include_images=True)

    assert content.figures == {"page-1-figure-1.webp": (10, 40, 110, 240)}
    assert content.markdown == "![Figure](page-1-figure-1.webp)\n\nA chart."


def test_3_box_with_swapped_corners_is_corrected():
    content = convert(
        make_block('<img alt="A"/>', "Image", "[110, 120, 10, 20]"), include_images=True
    )

    assert content.figures == {"page-1-figure-1.webp": (10, 40, 110, 240)}


def test_3_pictures_of_diagrams_are_kept():
    content = convert(make_block('<img alt="A"/>', "Diagram"), include_images=True)

    assert content.markdown == "![A](page-1-figure-1.webp)"
    assert content.figures == {"page-1-figure-1.webp": (10, 40, 110, 240)}


def test_4_box_outside_the_page_is_none_with_a_warning():
    content = convert(
        make_block("x", bbox="[2000, 2000, 3000, 3000]"), width=1000, height=800
    )

    assert content.blocks[0].bbox is None
    assert [warning.code for warning in content.warnings] == ["bbox_unreadable"]


@pytest.mark.parametrize(
    "bbox", ["100.0 200 300 400", "100, 200, 300, 400", "[100,200,300,400]"]
)
def test_4_boxes_with_floats_commas_and_brackets_are_parsed(bbox):
    content = convert(
        make_block("x", bbox=bbox),
        bbox_format=BboxFormat.SPACED_1000,
        width=1000,
        height=2000,
    )

    assert content.blocks[0].bbox == (100, 400, 300, 800)
    assert content.warnings == ()


def test_5_checked_and_unchecked_boxes_differ():
    fields = '<input type="checkbox" checked> Yes <input type="checkbox"> No'

    assert convert_block_to_markdown(fields, "Form") == "[x] Yes [ ] No"
    assert convert(make_block(fields, "Form")).text == "[x] Yes [ ] No"


def test_5_chemistry_is_a_code_span():
    assert (
        convert_block_to_markdown("<p>Ethanol <chem>CC[OH]</chem></p>")
        == "Ethanol `CC[OH]`"
    )


def test_6_active_content_is_removed():
    hostile = (
        "<script>alert(1)</script><a href='javascript:alert(1)'>x</a>"
        "<img src='https://evil.example/x.png' onerror='alert(1)'>"
    )
    table = f"<table><tr><td>{hostile}</td><td rowspan=2>y</td></tr></table>"

    content = convert(
        make_block(hostile) + make_block(table, "Table"), include_images=True
    )

    assert find_dangers(content.html) == []
    assert find_dangers(render_markdown(content.markdown)) == []


def test_box_with_three_numbers_does_not_fail_the_page():
    content = convert(make_block("x", bbox="[1, 2, 3]"))

    assert content.text == "x"
    assert content.blocks[0].bbox is None


def test_unreadable_box_is_none():
    assert convert(make_block("x", bbox="somewhere")).blocks[0].bbox is None


def test_floats_in_a_box_are_rounded():
    assert convert(make_block("x", bbox="[10.4, 20.0, 110.6, 120]")).blocks[0].bbox == (
        10,
        40,
        111,
        240,
    )


def test_blank_page_is_a_block_without_content():
    content = convert(make_block("This page is blank", "Blank-Page", "[0, 0, 0, 0]"))

    assert [block.label for block in content.blocks] == ["Blank-Page"]
    assert (content.html, content.markdown, content.text) == ("", "", "")
    assert content.warnings == ()


def test_tables_are_markdown_and_not_raw_html():
    table = "<table><tr><th>a</th></tr><tr><td>$5 | x_1</td></tr></table>"

    assert (
        convert_block_to_markdown(table, "Table") == "| a |\n| --- |\n| \\$5 \\| x_1 |"
    )
