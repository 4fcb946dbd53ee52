"""Sanitising of hostile HTML in every format."""

from __future__ import annotations

import pytest

from handler.postprocess.html.sanitise import clean
from tests.handler.postprocess.browser import (
    find_dangers,
    find_tags,
    render_markdown,
    visible_text,
)
from tests.handler.postprocess.html.vectors import VECTORS
from tests.handler.postprocess.pages import convert, make_block


def test_find_dangers_detects_dangerous_html():
    assert find_dangers("<script>x</script><p onclick=x>") == ["<script>", "p onclick"]
    assert find_dangers('<a href="java&#115;cript:x">') == ["href=javascript:x"]
    assert find_dangers(render_markdown("[x](javascript:y)")) == ["href=javascript:y"]
    assert find_dangers(render_markdown("<img src=https://x.example>")) != []


@pytest.mark.parametrize("vector", VECTORS)
@pytest.mark.parametrize("label", ["Text", "Table", "Figure", "Code-Block"])
def test_hostile_block_is_safe_in_every_format(vector, label):
    content = convert(make_block(vector, label), include_images=True)

    assert find_dangers(content.html) == []
    assert find_dangers("".join(block.html for block in content.blocks)) == []
    assert find_dangers(render_markdown(content.markdown)) == []


@pytest.mark.parametrize("vector", VECTORS)
def test_hostile_page_without_blocks_is_safe(vector):
    content = convert(vector, prompt_type="ocr")

    assert find_dangers(content.html) == []
    assert find_dangers(render_markdown(content.markdown)) == []


@pytest.mark.parametrize("vector", VECTORS)
@pytest.mark.parametrize(
    "place", ["<ul><li>{}</li></ul>", "<h2>{}</h2>", "<td>{}</td>"]
)
def test_hostile_text_is_safe_in_other_elements(vector, place):
    content = convert(place.format(vector), prompt_type="ocr", include_images=True)

    assert find_dangers(content.html) == []
    assert find_dangers(render_markdown(content.markdown)) == []


@pytest.mark.parametrize("vector", VECTORS)
def test_clean_alone_makes_hostile_html_safe(vector):
    assert find_dangers(clean(vector)) == []


@pytest.mark.parametrize("vector", VECTORS)
def test_cleaning_html_twice_changes_nothing(vector):
    html = convert(make_block(vector)).blocks[0].html

    assert clean(html) == html


def test_content_of_scripts_and_styles_is_dropped():
    content = convert(
        make_block("before<script>alert(1)</script><style>p{}</style>after")
    )

    assert content.text == "beforeafter"


def test_unclosed_script_ends_with_its_block():
    content = convert(make_block("<script>alert(1)</div>") + make_block("safe"))

    assert content.text == "safe"


def test_links_have_only_allowed_schemes():
    content = convert(
        make_block(
            '<a href="https://a.example/?b=1&amp;c=2">w</a> <a href="#3">r</a> '
            '<a href="mailto:a@b.example">m</a> <a href="ftp://a.example">f</a>'
        )
    )

    assert [
        attrs.get("href") for tag, attrs in find_tags(content.html) if tag == "a"
    ] == [
        "https://a.example/?b=1&c=2",
        "#3",
        "mailto:a@b.example",
        None,
    ]
    assert content.markdown == (
        "[w](https://a.example/?b=1&c=2) [r](#3) [m](mailto:a@b.example) f"
    )


def test_form_fields_are_disabled():
    content = convert(
        make_block('<input type="radio" name="a" checked> <input type="file">')
    )

    assert [attrs for tag, attrs in find_tags(content.html) if tag == "input"] == [
        {"type": "radio", "checked": "", "disabled": ""},
        {"type": "text", "disabled": ""},
    ]


def test_attributes_with_invalid_values_are_dropped():
    table = '<table border="1"><tr><td colspan="x" align="?" class="a">b</table>'

    content = convert(make_block(table, "Table"))

    assert '<td class="a">' in content.html


@pytest.mark.parametrize(
    "word", ["<none>", "<a@b.example>", "x <y and z> w", "a < b > c"]
)
def test_words_in_angle_brackets_are_text(word):
    content = convert(make_block(word))

    assert visible_text(content.html) == word
    assert visible_text(render_markdown(content.markdown)) == word
    assert content.text == word
