"""Insertion of pictures into Markdown and HTML as data URLs."""

from __future__ import annotations

import base64

import pytest

from handler.postprocess import illustrate
from tests.handler.postprocess.pages import convert, make_block

MARKDOWN_NUMBER = 123_456_789
PICTURE_NAME = "page-1-figure-1.webp"
PICTURE_BASE64 = base64.b64encode(b"RIFF webp").decode()
PICTURE_URL = f"data:image/webp;base64,{PICTURE_BASE64}"
FIGURE_BLOCK = make_block('<img alt="A [map] of | Lerwick">', "Figure")


def illustrate_page(raw, images, max_bytes=1000, **options):
    """Convert model output, and insert the pictures into its Markdown and HTML."""
    content = convert(
        raw, include_images=True, markdown_number=MARKDOWN_NUMBER, **options
    )
    return illustrate(
        content, images, markdown_number=MARKDOWN_NUMBER, max_bytes=max_bytes
    )


def test_picture_is_a_data_url_in_markdown_and_html():
    illustrated = illustrate_page(FIGURE_BLOCK, {PICTURE_NAME: PICTURE_BASE64})

    assert illustrated.content.markdown.endswith(f"]({PICTURE_URL})")
    assert f'<img src="{PICTURE_URL}"' in illustrated.content.html
    assert illustrated.content.blocks[0].html.count(PICTURE_NAME) == 1
    assert (illustrated.num_bytes, illustrated.num_left_out) == (len(PICTURE_URL), 0)


@pytest.mark.parametrize(
    "look_alike",
    [
        f"![a]({PICTURE_NAME})",
        f'<a href="{PICTURE_NAME}">{PICTURE_NAME}</a>',
        f"<code>![a]({PICTURE_NAME})</code>",
        f"<pre>![a]({PICTURE_NAME})</pre>",
        f'&lt;img src="{PICTURE_NAME}"&gt;',
    ],
)
def test_text_that_looks_like_a_picture_is_not_replaced(look_alike):
    illustrated = illustrate_page(
        FIGURE_BLOCK + make_block(look_alike), {PICTURE_NAME: PICTURE_BASE64}
    )

    assert illustrated.content.markdown.count(PICTURE_URL) == 1
    assert illustrated.content.html.count(PICTURE_URL) == 1


def test_picture_in_an_html_table_is_a_data_url():
    table = '<table><tr><td colspan="2"><img alt="seal"></td></tr></table>'

    illustrated = illustrate_page(
        make_block(table, "Diagram"), {PICTURE_NAME: PICTURE_BASE64}
    )

    assert f'<img src="{PICTURE_URL}"' in illustrated.content.markdown


def test_pictures_beyond_the_limit_keep_their_names():
    two_pictures = FIGURE_BLOCK + make_block("", "Image", "[200, 200, 300, 300]")
    images = {PICTURE_NAME: PICTURE_BASE64, "page-1-figure-2.webp": PICTURE_BASE64}

    illustrated = illustrate_page(two_pictures, images, max_bytes=len(PICTURE_URL))

    assert illustrated.num_left_out == 1
    assert f"({PICTURE_URL})" in illustrated.content.markdown
    assert "(page-1-figure-2.webp)" in illustrated.content.markdown
    assert str(MARKDOWN_NUMBER) not in illustrated.content.markdown


def test_missing_picture_keeps_its_name():
    illustrated = illustrate_page(FIGURE_BLOCK, {})

    assert f"({PICTURE_NAME})" in illustrated.content.markdown
    assert illustrated.num_left_out == 0
