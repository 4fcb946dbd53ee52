"""Malformed HTML, arbitrary text and huge input."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import assume, given, settings, strategies as st

from handler.schema import PageContent
from tests.handler.postprocess.browser import dangers_in, rendered
from tests.handler.postprocess.pages import block, read

TWO = block("<p>one</p>") + block("<p>two</p>", "Caption")


def labels(content: PageContent) -> list[str]:
    return [block.label for block in content.blocks]


@pytest.mark.parametrize("tail", ["", "<", "<d", "</", "</di", "<div", "<div data-bb"])
@pytest.mark.parametrize("more", ["", '="', '="[1, 2'])
def test_a_page_cut_off_inside_a_tag_keeps_all_before_it(tail, more):
    tail += more if tail.endswith("bb") else ""

    assert read(TWO + tail).blocks == read(TWO).blocks


def test_a_page_cut_off_at_any_character_never_loses_a_finished_word():
    source = block("<p>alpha <b>beta</b> &amp; gamma</p>") + block(
        "<table><tr><td>delta</td><td><math>x &lt; y</math></td></tr></table>", "Table"
    )

    for end in range(len(source)):
        cut = source[:end]
        words = [w for w in ("alpha", "beta", "gamma", "delta") if f"{w}" in cut]

        text = read(cut).text

        assert [word for word in words if word not in text] == []
        assert "data-" not in text


def test_a_description_cut_off_is_kept():
    content = read('<div data-label="Image"><img alt="A chart of')

    assert content.markdown == "*A chart of*"


def test_a_block_never_closed_ends_where_the_next_begins():
    content = read(
        '<div data-bbox="[1, 2, 300, 400]" data-label="Text"><p>one <b>bold<ul><li>item'
        + block("two")
    )

    assert labels(content) == ["Text", "Text"]
    assert content.text == "one bold\n\n- item\n\ntwo"


def test_a_quote_never_closed_costs_one_tag_at_most():
    content = read('<div data-bbox="[1, 2, 300, 400]" data-label="Text>one</div>' + TWO)

    assert content.text == "one\n\none\n\ntwo"
    assert labels(content) == ["Text", "Text", "Caption"]


def test_end_tags_nobody_opened_change_nothing():
    content = read(block("<p>one</b></i></p></ul>") + "</div></div>" + block("two"))

    assert content.text == "one\n\ntwo"


def test_cells_and_entries_need_no_end_tags():
    content = read(
        block("<ul><li>a<li>b</ul>")
        + block("<table><tr><th>c<th>d<tr><td>e<td>f</table>")
    )

    assert content.text == "- a\n- b\n\nc\td\ne\tf"


@pytest.mark.parametrize(
    "tag", ["div", "ul", "ol", "li", "b", "table", "td", "sub", "a"]
)
@pytest.mark.parametrize("closed", [False, True])
def test_five_thousand_nested_elements_are_flattened(tag, closed):
    end = f"</{tag}>" * 5000 if closed else ""

    content = read(f"<{tag}>" * 5000 + "deep" + end, prompt_type="ocr")

    assert "deep" in content.text
    assert "deep" in content.markdown
    if tag not in ("li", "td"):  # these close the one before
        assert [warning.code for warning in content.warnings] == ["nesting_flattened"]


def test_nested_tables_keep_every_cell():
    content = read("<table><tr><td>a" * 50 + "deep", prompt_type="ocr")

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
        "�",
        "�",
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
ANYTHING = st.lists(FRAGMENTS | st.text(max_size=5), max_size=40).map("".join)


@settings(max_examples=400, deadline=None)
@given(ANYTHING, st.booleans(), st.sampled_from(["ocr", "ocr_layout"]))
def test_any_text_becomes_a_harmless_page(raw, include_images, prompt_type):
    content = read(raw, include_images=include_images, prompt_type=prompt_type)

    assert dangers_in(content.html) == []
    assert dangers_in(rendered(content.markdown)) == []
    written = json.dumps([content.html, content.markdown, content.text])
    assert json.loads(written) == [content.html, content.markdown, content.text]
    for text in (content.html, content.markdown, content.text):
        text.encode("utf-8")
        assert "\x00" not in text
        assert not re.search("[\ufdd0-\ufdef]", text)


@settings(max_examples=200, deadline=None)
@given(ANYTHING)
def test_any_text_in_a_block_leaves_the_next_block_alone(raw):
    # Those may well be blocks of their own, or hide the end of theirs.
    assume(not any(word in raw for word in ("data-", "<!--", "<div")))

    content = read(block(raw) + block("the last"))

    assert content.blocks[-1] == read(block("the last")).blocks[0]


HUGE = {
    "spaces": "<p>a" + " " * 200_000,
    "entries": "<ul>" + "<li>a" * 40_000,
    "cells": "<table>" + "<tr><td>a<td>b" * 14_000,
    "one long row": "<table><tr>" + "<td>a" * 20_000 + "<tr><td>b" * 12_000,
    "brackets": "](" * 100_000,
    "less-than signs": "<" * 200_000,
    "tags never finished": "<a " * 66_000,
    "quotes never finished": '<a ="" ="' * 22_000,
    "comments never closed": "<!--" * 50_000,
    "scripts never closed": "<script>" * 25_000,
    "formulas never closed": "<math></p>" * 20_000,
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


@pytest.mark.parametrize("name", HUGE)
def test_two_hundred_kilobytes_of_anything_take_seconds_at_most(name):
    start = time.perf_counter()

    content = read(HUGE[name], prompt_type="ocr")

    assert time.perf_counter() - start < 10  # 0.9 s at most when this was written
    assert len(content.markdown) + len(content.html) < 2_000_000
