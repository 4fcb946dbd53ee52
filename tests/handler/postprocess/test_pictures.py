"""Insertion of pictures into Markdown and HTML as data URLs."""

from __future__ import annotations

import base64

import pytest

from handler.postprocess import illustrate
from tests.handler.postprocess.pages import block, convert

NUMBER = 123_456_789
NAME = "page-1-figure-1.webp"
PICTURE = base64.b64encode(b"RIFF webp").decode()
URL = f"data:image/webp;base64,{PICTURE}"
FIGURE = block('<img alt="A [map] of | Lerwick">', "Figure")


def illustrate_page(source, images, max_bytes=1000, **options):
    content = convert(source, include_images=True, markdown_number=NUMBER, **options)
    return illustrate(content, images, markdown_number=NUMBER, max_bytes=max_bytes)


def test_picture_is_a_data_url_in_markdown_and_html():
    found = illustrate_page(FIGURE, {NAME: PICTURE})

    assert found.content.markdown.endswith(f"]({URL})")
    assert f'<img src="{URL}"' in found.content.html
    assert found.content.blocks[0].html.count(NAME) == 1
    assert (found.num_bytes, found.num_left_out) == (len(URL), 0)


@pytest.mark.parametrize(
    "words",
    [
        f"![a]({NAME})",
        f'<a href="{NAME}">{NAME}</a>',
        f"<code>![a]({NAME})</code>",
        f"<pre>![a]({NAME})</pre>",
        f'&lt;img src="{NAME}"&gt;',
    ],
)
def test_text_that_looks_like_a_picture_is_not_replaced(words):
    found = illustrate_page(FIGURE + block(words), {NAME: PICTURE})

    assert found.content.markdown.count(URL) == 1
    assert found.content.html.count(URL) == 1


def test_picture_in_an_html_table_is_a_data_url():
    table = '<table><tr><td colspan="2"><img alt="seal"></td></tr></table>'

    found = illustrate_page(block(table, "Diagram"), {NAME: PICTURE})

    assert f'<img src="{URL}"' in found.content.markdown


def test_pictures_beyond_the_limit_keep_their_names():
    two = FIGURE + block("", "Image", "[200, 200, 300, 300]")
    images = {NAME: PICTURE, "page-1-figure-2.webp": PICTURE}

    found = illustrate_page(two, images, max_bytes=len(URL))

    assert found.num_left_out == 1
    assert f"({URL})" in found.content.markdown
    assert "(page-1-figure-2.webp)" in found.content.markdown
    assert str(NUMBER) not in found.content.markdown


def test_missing_picture_keeps_its_name():
    found = illustrate_page(FIGURE, {})

    assert f"({NAME})" in found.content.markdown
    assert found.num_left_out == 0
