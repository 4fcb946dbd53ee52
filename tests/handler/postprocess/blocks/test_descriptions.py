"""Descriptions of pictures, which must not become text of the page."""

from __future__ import annotations

import pytest

from handler.postprocess.blocks.layout import LABELS
from handler.profiles import BboxFormat
from tests.handler.postprocess.pages import (
    convert,
    convert_block_to_markdown,
    make_block,
)

WITH_IMAGES = ("Diagram", "Figure", "Image")
WITHOUT_IMAGES = sorted({*LABELS, "Stamp"} - {*WITH_IMAGES, "Blank-Page"})
BBOX_OF_MODEL = {
    "chandra": (BboxFormat.JSON_1024, "[10, 20, 110, 120]"),
    "chandra-2": (BboxFormat.SPACED_1000, "10 20 110 120"),
}


@pytest.mark.parametrize("model", BBOX_OF_MODEL)
@pytest.mark.parametrize("include_images", [False, True])
@pytest.mark.parametrize("label", WITHOUT_IMAGES)
def test_image_outside_picture_blocks_is_dropped(label, include_images, model):
    bbox_format, bbox = BBOX_OF_MODEL[model]

    content = convert(
        make_block('due<img alt="A logo" src="a.png">now', label, bbox),
        bbox_format=bbox_format,
        include_images=include_images,
        include_headers_footers=True,
    )

    assert content.figures == {}
    assert "<img" not in content.html
    assert content.markdown.removeprefix("## ").strip("`\n") == "due now"
    assert content.text == "due now"


def test_image_between_blocks_is_dropped():
    content = convert(
        '<img alt="A ship">' + make_block("x") + '<p><img alt="A quay"></p>'
    )

    assert [block.label for block in content.blocks] == ["Text"]
    assert content.text == content.markdown == "x"


def test_image_on_a_page_without_blocks_is_dropped():
    content = convert('<p>x<img alt="A ship">y</p>', prompt_type="ocr")

    assert content.text == content.markdown == "x y"
    assert "<img" not in content.html


def test_dropped_image_leaves_its_cell_empty():
    table = '<table><tr><td><img alt="A tick"></td><td>5</td></tr></table>'

    content = convert(make_block(table, "Table"))

    assert content.text == "\t5"
    assert "A tick" not in content.html + content.markdown


def test_dropped_image_beside_a_molecule_keeps_the_molecule():
    content = convert(
        make_block('<img alt="Benzene ring"/><chem>c1ccccc1</chem>', "Chemical-Block")
    )

    assert content.text == "c1ccccc1"
    assert content.markdown == "`c1ccccc1`"


@pytest.mark.parametrize("label", WITH_IMAGES)
def test_description_is_an_attribute_in_html(label):
    content = convert(make_block('<img alt="A ship">', label))

    assert content.blocks[0].html == '<img alt="A ship">'
    assert '<img alt="A ship">' in content.html


@pytest.mark.parametrize("label", WITH_IMAGES)
def test_description_is_emphasised_without_pictures(label):
    assert (
        convert_block_to_markdown('x<img alt="A ship">y', label) == "x  \n*A ship*  \ny"
    )


@pytest.mark.parametrize("label", WITH_IMAGES)
def test_description_belongs_to_its_picture_in_markdown(label):
    markdown = convert_block_to_markdown(
        '<img alt="A ship"><p>y</p>', label, include_images=True
    )

    assert markdown == "![A ship](page-1-figure-1.webp)\n\ny"


@pytest.mark.parametrize("include_images", [False, True])
@pytest.mark.parametrize("label", WITH_IMAGES)
def test_plain_text_has_no_description(label, include_images):
    raw = make_block('x<img alt="A ship">y<p>z</p>', label)

    assert convert(raw, include_images=include_images).text == "x y\n\nz"


def test_innermost_label_decides_in_a_complex_block():
    figure = '<div data-label="Figure"><img alt="A ship"></div>'
    content = convert(
        make_block(f'{figure}<p>x<img alt="A logo"></p>', "Complex-Block")
    )

    assert content.markdown == "*A ship*\n\nx"
    assert "A logo" not in content.html
