"""Pictures that are cut out of a page, and their names."""

from __future__ import annotations

import re

from tests.handler.postprocess.pages import REPORT, convert, make_block


def test_no_picture_names_without_include_images():
    content = convert(
        make_block('<img alt="A ship" src="a.png"><p>Seen from the quay.</p>', "Figure")
        + make_block('<img src="b.png">', "Image")
    )

    assert content.figures == {}
    assert "src" not in content.html
    assert content.markdown == "*A ship*\n\nSeen from the quay."
    assert content.text == "Seen from the quay."
    assert content.blocks[1].html == ""


def test_picture_without_a_box_has_no_name():
    content = convert(make_block('<img alt="A"/>', "Image", "?"), include_images=True)

    assert content.figures == {}
    assert content.markdown == "*A*"


def test_pictures_are_numbered_within_their_page():
    content = convert(
        make_block("text")
        + make_block('<img alt="A"/>', "Image", "?")
        + make_block('<img alt="B"/>', "Image")
        + make_block("C", "Figure", "[10, 20, 30, 40]"),
        include_images=True,
        page_number=7,
    )

    assert content.figures == {
        "page-7-figure-1.webp": (10, 40, 110, 240),
        "page-7-figure-2.webp": (10, 40, 30, 80),
    }


def test_picture_in_a_complex_block_uses_its_own_box():
    content = convert(
        make_block(
            '<div data-bbox="[10, 20, 60, 70]" data-label="Figure"><img alt="A"></div>'
            '<div data-label="Figure"><img alt="B"></div><img alt="C">',
            "Complex-Block",
        ),
        include_images=True,
    )

    assert content.figures == {
        "page-1-figure-1.webp": (10, 40, 60, 140),
        "page-1-figure-2.webp": (10, 40, 110, 240),
    }
    # The last image is outside a picture block and is therefore dropped.
    assert content.markdown == (
        "![A](page-1-figure-1.webp)\n\n![B](page-1-figure-2.webp)"
    )


def test_a_page_has_at_most_64_pictures():
    boxes = [
        make_block('<img alt="A">', "Image", f"[0, 0, {n + 9}, 9]") for n in range(500)
    ]

    assert len(convert("".join(boxes), include_images=True).figures) == 64


def test_names_in_html_and_markdown_equal_the_figures():
    content = convert(REPORT + REPORT, include_images=True)

    in_html = re.findall(r'src="([^"]*)"', content.html)
    in_markdown = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", content.markdown)

    assert set(in_html) == set(in_markdown) == set(content.figures)
