"""Blocks, HTML, Markdown and text of a page from the model's output."""

from __future__ import annotations

import pickle
import re

import pytest

from handler.profiles import BboxFormat
from handler.schema import Block, PageContent
from tests.handler.postprocess.browser import find_tags, visible_text
from tests.handler.postprocess.pages import (
    CHEMISTRY,
    DATA,
    REPORT,
    TWO_BLOCKS,
    convert,
    labels_of,
    make_block,
)


def test_blocks_keep_order_labels_boxes_and_content():
    content = convert(TWO_BLOCKS)

    assert content.blocks == (
        Block("Text", (10, 40, 110, 240), "<p>one</p>"),
        Block("Caption", (10, 40, 110, 240), "<p>two</p>"),
    )
    box = 'data-bbox="10 40 110 240"'
    assert content.html == (
        f'<div class="block" data-label="Text" {box}><p>one</p></div>\n'
        f'<div class="block" data-label="Caption" {box}><p>two</p></div>'
    )
    assert content.markdown == content.text == "one\n\ntwo"


def test_empty_answer_is_an_empty_page():
    assert convert("") == convert(" \n ") == PageContent()


# Content outside blocks.


def test_text_between_blocks_becomes_blocks():
    content = convert(
        "zero" + make_block("one") + "<p>two</p>three" + make_block("four")
    )

    assert labels_of(content) == ["Block", "Text", "Block", "Text"]
    assert [block.bbox is None for block in content.blocks] == [
        True,
        False,
        True,
        False,
    ]
    assert content.text == "zero\n\none\n\ntwo\n\nthree\n\nfour"


def test_page_of_the_ocr_prompt_is_one_block():
    content = convert("<h1>A</h1><div>b</div>c", prompt_type="ocr")

    assert content.blocks == (Block("Text", None, "<h1>A</h1><div>b</div>c"),)
    assert content.warnings == ()


def test_blocks_do_not_depend_on_the_prompt_type():
    assert convert(TWO_BLOCKS, prompt_type="ocr").blocks == convert(TWO_BLOCKS).blocks


def test_wrapper_around_the_page_is_not_a_block():
    wrapped = (
        f"<!DOCTYPE html><html><body><div class='page'>{TWO_BLOCKS}</div></body></html>"
    )

    assert convert(wrapped).blocks == convert(TWO_BLOCKS).blocks


# Nested blocks.


def test_blocks_inside_a_complex_block_are_its_content():
    content = convert(
        make_block(
            '<div data-bbox="[1, 2, 3, 4]" data-label="Text" class="a">in</div>',
            "Complex-Block",
        )
        + make_block("next")
    )

    assert labels_of(content) == ["Complex-Block", "Text"]
    assert content.blocks[0].html == (
        '<div data-label="Text" class="a"><p>in</p></div>'
    )


# Headers and footers.


@pytest.mark.parametrize("label", ["Page-Header", "Page-Footer", "page footer"])
def test_headers_and_footers_are_in_the_text_only_on_request(label):
    source = make_block("12", label) + make_block("body")

    without, with_them = convert(source), convert(source, include_headers_footers=True)

    assert without.blocks == with_them.blocks
    assert without.markdown == without.text == "body"
    assert with_them.markdown == with_them.text == "12\n\nbody"
    assert visible_text(with_them.html) == "12 body"


# Bare text.


@pytest.mark.parametrize(
    ("label", "html"),
    [
        ("Text", "<p>a <b>b</b></p>"),
        ("Section-Header", "<h2>a <b>b</b></h2>"),
        ("Code-Block", "<pre>a <b>b</b></pre>"),
    ],
)
def test_bare_text_is_wrapped_by_the_label(label, html):
    assert convert(make_block("a <b>b</b>", label)).blocks[0].html == html


@pytest.mark.parametrize("html", ["<h3>a</h3>", "<p>a</p>", "<ul><li>a</li></ul>"])
def test_text_in_a_block_element_is_not_wrapped(html):
    assert convert(make_block(html)).blocks[0].html == html


# Whole pages.


def test_report_as_markdown():
    expected = (DATA / "report.md").read_text("utf-8")

    assert convert(REPORT, include_images=True).markdown + "\n" == expected


def test_page_of_chandra_2_with_spelling_variants():
    content = convert(
        CHEMISTRY, bbox_format=BboxFormat.SPACED_1000, width=1000, height=1000
    )

    assert [(block.label, block.bbox) for block in content.blocks] == [
        ("Section-Header", (80, 40, 900, 90)),
        ("Chemical-Block", (80, 100, 900, 400)),
        ("Complex-Block", (80, 410, 900, 700)),
        ("Bibliography", (80, 710, 900, 800)),
        ("Blank-Page", None),
        ("Page-Footer", (80, 970, 900, 990)),
    ]
    assert [warning.code for warning in content.warnings] == ["reasoning_removed"]
    assert "```mermaid\ngraph TD\n  A[Phenol] --> B[Aspirin]\n```" in content.markdown
    inner = re.findall('data-label="([^"]*)"', content.blocks[2].html)
    assert inner == ["Diagram", "Text"]
    assert content.markdown.endswith("Yield: 85 %.\n\n- [1] Gerhardt, C. (1853).")


def test_page_content_can_be_pickled():
    content = convert(REPORT, include_images=True)

    assert pickle.loads(pickle.dumps(content)) == content


def test_unusable_boxes_give_one_warning_with_a_count():
    content = convert(
        make_block("a", bbox="?") + make_block("b", bbox="!") + make_block("c")
    )

    assert [warning.to_json() for warning in content.warnings] == [
        {
            "code": "bbox_unreadable",
            "detail": "2 of 3 blocks have no readable box on the page",
        }
    ]


def test_html_has_one_element_per_block():
    content = convert(REPORT)

    blocks = [attrs for tag, attrs in find_tags(content.html) if "data-bbox" in attrs]

    assert len(blocks) == content.html.count('<div class="block"') == 12
