"""Malformed HTML, arbitrary text and huge input."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import assume, given, settings, strategies as st

from tests.handler.postprocess.browser import find_dangers, render_markdown
from tests.handler.postprocess.pages import TWO_BLOCKS, convert, labels_of, make_block


@pytest.mark.parametrize(
    "cut_tag", ["", "<", "<d", "</", "</di", "<div", "<div data-bb"]
)
@pytest.mark.parametrize("cut_attribute", ["", '="', '="[1, 2'])
def test_page_cut_off_inside_a_tag_keeps_earlier_blocks(cut_tag, cut_attribute):
    cut_tag += cut_attribute if cut_tag.endswith("bb") else ""

    assert convert(TWO_BLOCKS + cut_tag).blocks == convert(TWO_BLOCKS).blocks


def test_page_cut_off_anywhere_keeps_complete_words():
    source = make_block("<p>alpha <b>beta</b> &amp; gamma</p>") + make_block(
        "<table><tr><td>delta</td><td><math>x &lt; y</math></td></tr></table>", "Table"
    )

    for end in range(len(source)):
        cut = source[:end]
        words = [w for w in ("alpha", "beta", "gamma", "delta") if w in cut]

        text = convert(cut).text

        assert [word for word in words if word not in text] == []
        assert "data-" not in text


def test_description_that_is_cut_off_is_kept():
    content = convert('<div data-label="Image"><img alt="A chart of')

    assert content.markdown == "*A chart of*"


def test_unclosed_block_ends_where_the_next_begins():
    content = convert(
        '<div data-bbox="[1, 2, 300, 400]" data-label="Text"><p>one <b>bold<ul><li>item'
        + make_block("two")
    )

    assert labels_of(content) == ["Text", "Text"]
    assert content.text == "one bold\n\n- item\n\ntwo"


def test_unclosed_quote_loses_one_tag_at_most():
    content = convert(
        '<div data-bbox="[1, 2, 300, 400]" data-label="Text>one</div>' + TWO_BLOCKS
    )

    assert content.text == "one\n\none\n\ntwo"
    assert labels_of(content) == ["Text", "Text", "Caption"]


def test_end_tags_without_start_tags_are_ignored():
    content = convert(
        make_block("<p>one</b></i></p></ul>") + "</div></div>" + make_block("two")
    )

    assert content.text == "one\n\ntwo"


def test_cells_and_list_entries_need_no_end_tags():
    content = convert(
        make_block("<ul><li>a<li>b</ul>")
        + make_block("<table><tr><th>c<th>d<tr><td>e<td>f</table>")
    )

    assert content.text == "- a\n- b\n\nc\td\ne\tf"


@pytest.mark.parametrize(
    "tag", ["div", "ul", "ol", "li", "b", "table", "td", "sub", "a"]
)
@pytest.mark.parametrize("is_closed", [False, True])
def test_5000_nested_elements_are_flattened(tag, is_closed):
    end = f"</{tag}>" * 5000 if is_closed else ""

    content = convert(f"<{tag}>" * 5000 + "deep" + end, prompt_type="ocr")

    assert "deep" in content.text
    assert "deep" in content.markdown
    if tag not in ("li", "td"):  # each start tag closes the element before it
        assert [warning.code for warning in content.warnings] == ["nesting_flattened"]


def test_nested_tables_keep_every_cell():
    content = convert("<table><tr><td>a" * 50 + "deep", prompt_type="ocr")

    assert "deep" in content.text
    assert content.text.count("a") == 50


# Arbitrary text.

FRAGMENTS = st.sampled_from(
    [
        "<div",
        "data-bbox=",
        "data-label=Table",
        "data-label='Complex-Block'",
        ">",
        "<",
        "</div>",
        "<p>",
        "</p>",
        "<b>",
        "</b>",
        "<table>",
        "<tr>",
        "<td>",
        "</table>",
        "<ul>",
        "<ol>",
        "<li>",
        "</li>",
        "<math>",
        "</math>",
        "<chem>",
        "<pre>",
        "</pre>",
        "<code>",
        "</code>",
        "<img",
        "alt=",
        "src=",
        ">",
        "<input",
        "type=checkbox",
        "<a",
        "href=",
        "</a>",
        "<br>",
        "<!--",
        "-->",
        "<script>",
        "</script>",
        "<svg>",
        "[1,2,300,400]",
        '"',
        "'",
        "=",
        "&",
        "&amp;",
        "&#",
        "&#x0;",
        "&#xD800;",
        "$",
        "$$",
        "\\",
        "`",
        "```",
        "*",
        "**",
        "_",
        "~~",
        "#",
        "-",
        "+",
        "1.",
        "|",
        "[",
        "](",
        ")",
        "!",
        "\n",
        "\r",
        "\t",
        "\x00",
        "\ud800",
        "\udfff",
        "\ufdd0",
        "\ufddf",
        "é",
        "日本",
        "</think>",
        "<think>",
        "colspan=2",
        "display=block",
    ]
)
ARBITRARY_TEXT = st.lists(FRAGMENTS | st.text(max_size=5), max_size=40).map("".join)


@settings(max_examples=400, deadline=None)
@given(ARBITRARY_TEXT, st.booleans(), st.sampled_from(["ocr", "ocr_layout"]))
def test_arbitrary_text_becomes_a_safe_page(raw, include_images, prompt_type):
    content = convert(raw, include_images=include_images, prompt_type=prompt_type)

    assert find_dangers(content.html) == []
    assert find_dangers(render_markdown(content.markdown)) == []
    serialised = json.dumps([content.html, content.markdown, content.text])
    assert json.loads(serialised) == [content.html, content.markdown, content.text]
    for text in (content.html, content.markdown, content.text):
        text.encode("utf-8")
        assert "\x00" not in text
        assert not re.search("[\ufdd0-\ufdef]", text)


@settings(max_examples=200, deadline=None)
@given(ARBITRARY_TEXT)
def test_arbitrary_text_does_not_change_the_next_block(raw):
    # Such texts may be blocks of their own or hide the end of their block.
    assume(not any(word in raw for word in ("data-", "<!--", "<div")))

    content = convert(make_block(raw) + make_block("the last"))

    assert content.blocks[-1] == convert(make_block("the last")).blocks[0]


HUGE_INPUTS = {
    "spaces": "<p>a" + " " * 200_000,
    "entries": "<ul>" + "<li>a" * 40_000,
    "cells": "<table>" + "<tr><td>a<td>b" * 14_000,
    "one long row": "<table><tr>" + "<td>a" * 20_000 + "<tr><td>b" * 12_000,
    "brackets": "](" * 100_000,
    "less-than signs": "<" * 200_000,
    "unfinished tags": "<a " * 66_000,
    "unfinished quotes": '<a ="" ="' * 22_000,
    "unclosed comments": "<!--" * 50_000,
    "unclosed scripts": "<script>" * 25_000,
    "unclosed formulas": "<math></p>" * 20_000,
    "references": "&#" * 100_000,
    "a long reference": "&#" + "9" * 200_000 + ";",
    "underscores": "_a " * 66_000,
    "backslashes": "\\" * 200_000,
    "classes": "<p>"
    + "".join(f"<b class=c{n}>" for n in range(8_000))
    + "<p>" * 20_000,
    "elements": "<b><i><u>" * 20_000,
    "blocks": "<div data-label=A>x" * 10_000,
}


@pytest.mark.parametrize("name", HUGE_INPUTS)
def test_200_kb_of_malformed_html_take_seconds_at_most(name):
    start = time.process_time()

    content = convert(HUGE_INPUTS[name], prompt_type="ocr")

    assert time.process_time() - start < 10  # took at most 0.9 s when added
    assert len(content.markdown) + len(content.html) < 2_000_000
