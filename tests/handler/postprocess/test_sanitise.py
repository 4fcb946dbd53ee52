"""Nothing a document makes a model write can act on whoever reads the reply."""

from __future__ import annotations

import pytest

from handler.postprocess.sanitise import clean
from tests.handler.postprocess.browser import dangers_in, rendered, seen, tags_in
from tests.handler.postprocess.pages import block, read
from tests.handler.postprocess.vectors import VECTORS


def test_the_viewer_of_these_tests_sees_danger():
    assert dangers_in("<script>x</script><p onclick=x>") == ["<script>", "p onclick"]
    assert dangers_in('<a href="java&#115;cript:x">') == ["href=javascript:x"]
    assert dangers_in(rendered("[x](javascript:y)")) == ["href=javascript:y"]
    assert dangers_in(rendered("<img src=https://x.example>")) != []


@pytest.mark.parametrize("vector", VECTORS)
@pytest.mark.parametrize("label", ["Text", "Table", "Figure", "Code-Block"])
def test_a_hostile_block_is_harmless_in_every_format(vector, label):
    content = read(block(vector, label), include_images=True)

    assert dangers_in(content.html) == []
    assert dangers_in("".join(block.html for block in content.blocks)) == []
    assert dangers_in(rendered(content.markdown)) == []


@pytest.mark.parametrize("vector", VECTORS)
def test_a_hostile_page_without_blocks_is_harmless_in_every_format(vector):
    content = read(vector, prompt_type="ocr")

    assert dangers_in(content.html) == []
    assert dangers_in(rendered(content.markdown)) == []


@pytest.mark.parametrize("vector", VECTORS)
@pytest.mark.parametrize(
    "place", ["<ul><li>{}</li></ul>", "<h2>{}</h2>", "<td>{}</td>"]
)
def test_a_hostile_text_is_harmless_wherever_it_stands(vector, place):
    content = read(place.format(vector), prompt_type="ocr", include_images=True)

    assert dangers_in(content.html) == []
    assert dangers_in(rendered(content.markdown)) == []


@pytest.mark.parametrize("vector", VECTORS)
def test_cleaning_alone_would_do(vector):
    assert dangers_in(clean(vector)) == []


@pytest.mark.parametrize("vector", VECTORS)
def test_clean_html_stays_as_it_is_when_cleaned_again(vector):
    html = read(block(vector)).blocks[0].html

    assert clean(html) == html


def test_what_a_script_says_is_not_text():
    content = read(block("before<script>alert(1)</script><style>p{}</style>after"))

    assert content.text == "beforeafter"


def test_a_script_never_closed_ends_with_its_block():
    content = read(block("<script>alert(1)</div>") + block("safe"))

    assert content.text == "safe"


def test_links_lead_to_the_web_and_to_mail_only():
    content = read(
        block(
            '<a href="https://a.example/?b=1&amp;c=2">w</a> <a href="#3">r</a> '
            '<a href="mailto:a@b.example">m</a> <a href="ftp://a.example">f</a>'
        )
    )

    assert [
        attrs.get("href") for tag, attrs in tags_in(content.html) if tag == "a"
    ] == [
        "https://a.example/?b=1&c=2",
        "#3",
        "mailto:a@b.example",
        None,
    ]
    assert content.markdown == (
        "[w](https://a.example/?b=1&c=2) [r](#3) [m](mailto:a@b.example) f"
    )


def test_form_fields_cannot_be_used():
    content = read(block('<input type="radio" name="a" checked> <input type="file">'))

    assert [attrs for tag, attrs in tags_in(content.html) if tag == "input"] == [
        {"type": "radio", "checked": "", "disabled": ""},
        {"type": "text", "disabled": ""},
    ]


def test_attributes_with_values_that_make_no_sense_are_dropped():
    table = '<table border="1"><tr><td colspan="x" align="?" class="a">b</table>'

    content = read(block(table, "Table"))

    assert '<td class="a">' in content.html


@pytest.mark.parametrize(
    "word", ["<none>", "<a@b.example>", "x <y and z> w", "a < b > c"]
)
def test_what_is_no_tag_is_text(word):
    content = read(block(word))

    assert seen(content.html) == word
    assert seen(rendered(content.markdown)) == word
    assert content.text == word
