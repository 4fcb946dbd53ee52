"""What becomes of a page's text: nothing is lost, nothing made up."""

from __future__ import annotations

import json
import pickle
import re
import time

import pytest
from hypothesis import assume, given, settings, strategies as st

from handler.profiles import BboxFormat
from handler.schema import Block, PageContent
from tests.handler.postprocess.browser import dangers_in, rendered, seen, tags_in
from tests.handler.postprocess.pages import CHEMISTRY, DATA, REPORT, block, read

TWO = block("<p>one</p>") + block("<p>two</p>", "Caption")


def labels(content: PageContent) -> list[str]:
    return [block.label for block in content.blocks]


def test_blocks_keep_their_order_labels_boxes_and_content():
    content = read(TWO)

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


def test_an_empty_answer_is_an_empty_page():
    assert read("") == read(" \n ") == PageContent()


# What is not in a block.


def test_text_between_blocks_becomes_blocks_in_place():
    content = read("zero" + block("one") + "<p>two</p>three" + block("four"))

    assert labels(content) == ["Block", "Text", "Block", "Text"]
    assert [block.bbox is None for block in content.blocks] == [
        True,
        False,
        True,
        False,
    ]
    assert content.text == "zero\n\none\n\ntwo\n\nthree\n\nfour"


def test_a_page_of_the_plain_prompt_is_one_block():
    content = read("<h1>A</h1><div>b</div>c", prompt_type="ocr")

    assert content.blocks == (Block("Text", None, "<h1>A</h1><div>b</div>c"),)
    assert content.warnings == ()


def test_blocks_are_blocks_whatever_the_prompt_was():
    assert read(TWO, prompt_type="ocr").blocks == read(TWO).blocks


def test_a_wrapper_around_the_page_is_no_block():
    wrapped = f"<!DOCTYPE html><html><body><div class='page'>{TWO}</div></body></html>"

    assert read(wrapped).blocks == read(TWO).blocks


# Reasoning and fences.


def test_reasoning_is_cut_off_and_reported():
    content = read("The page has a <b>title</b>.\n</think>\n" + TWO)

    assert content.blocks == read(TWO).blocks
    assert [warning.code for warning in content.warnings] == ["reasoning_removed"]


@pytest.mark.parametrize("prefix", ["<think>", "<think>\nHm. <div>?</div></think>"])
def test_reasoning_that_is_opened_is_cut_off_whether_closed_or_not(prefix):
    assert read(prefix + TWO).blocks == read(TWO).blocks


def test_a_model_that_only_reasoned_read_nothing():
    content = read("<think>The page shows a ship, and")

    assert content.blocks == ()
    assert [warning.code for warning in content.warnings] == ["reasoning_removed"]


def test_a_document_cannot_wipe_out_its_page_with_a_tag():
    content = read(block("one </think> two"))

    assert content.text == "one two"
    assert content.warnings == ()


@pytest.mark.parametrize(
    "fence", ["```html\n{}\n```", "```\n{}\n```\n", "\n```HTML\n{}"]
)
def test_a_fence_around_the_page_is_stripped(fence):
    assert read(fence.format(TWO)) == read(TWO)


# Broken HTML.


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


# Nested blocks.


def test_blocks_inside_a_complex_block_are_its_content():
    content = read(
        block(
            '<div data-bbox="[1, 2, 3, 4]" data-label="Text" class="a">in</div>',
            "Complex-Block",
        )
        + block("next")
    )

    assert labels(content) == ["Complex-Block", "Text"]
    assert content.blocks[0].html == (
        '<div data-label="Text" class="a"><p>in</p></div>'
    )


# Headers, footers, blank pages.


@pytest.mark.parametrize("label", ["Page-Header", "Page-Footer", "page footer"])
def test_headers_and_footers_are_blocks_but_not_text_unless_asked_for(label):
    source = block("12", label) + block("body")

    without, with_them = read(source), read(source, include_headers_footers=True)

    assert without.blocks == with_them.blocks
    assert without.markdown == without.text == "body"
    assert with_them.markdown == with_them.text == "12\n\nbody"
    assert seen(with_them.html) == "12 body"


# Pictures.


def test_without_pictures_no_name_is_left_dangling():
    content = read(
        block('<img alt="A ship" src="a.png"><p>Seen from the quay.</p>', "Figure")
        + block('<img src="b.png">', "Image")
    )

    assert content.figures == {}
    assert "src" not in content.html
    assert content.markdown == "*A ship*\n\nSeen from the quay."
    assert content.text == "Seen from the quay."
    assert content.blocks[1].html == ""


def test_a_picture_without_a_box_has_no_name():
    content = read(block('<img alt="A"/>', "Image", "?"), include_images=True)

    assert content.figures == {}
    assert content.markdown == "*A*"


def test_pictures_are_counted_by_page_and_never_by_block():
    content = read(
        block("text")
        + block('<img alt="A"/>', "Image", "?")
        + block('<img alt="B"/>', "Image")
        + block("C", "Figure", "[10, 20, 30, 40]"),
        include_images=True,
        page_number=7,
    )

    assert content.figures == {
        "page-7-figure-1.webp": (10, 40, 110, 240),
        "page-7-figure-2.webp": (10, 40, 30, 80),
    }


def test_a_picture_in_a_complex_block_is_cut_from_its_own_box():
    content = read(
        block(
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
    # The last is in no block of a picture, so it shows nothing on the page.
    assert content.markdown == (
        "![A](page-1-figure-1.webp)\n\n![B](page-1-figure-2.webp)"
    )


def test_a_page_cannot_ask_for_thousands_of_pictures():
    boxes = [block('<img alt="A">', "Image", f"[0, 0, {n + 9}, 9]") for n in range(500)]

    assert len(read("".join(boxes), include_images=True).figures) == 64


def test_every_name_in_html_and_markdown_is_a_figure_and_the_reverse():
    content = read(REPORT + REPORT, include_images=True)

    in_html = re.findall(r'src="([^"]*)"', content.html)
    in_markdown = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", content.markdown)

    assert set(in_html) == set(in_markdown) == set(content.figures)


# Bare text.


@pytest.mark.parametrize(
    ("label", "html"),
    [
        ("Text", "<p>a <b>b</b></p>"),
        ("Section-Header", "<h2>a <b>b</b></h2>"),
        ("Code-Block", "<pre>a <b>b</b></pre>"),
    ],
)
def test_bare_text_becomes_what_it_stands_for(label, html):
    assert read(block("a <b>b</b>", label)).blocks[0].html == html


@pytest.mark.parametrize("html", ["<h3>a</h3>", "<p>a</p>", "<ul><li>a</li></ul>"])
def test_text_that_is_something_already_stays_that(html):
    assert read(block(html)).blocks[0].html == html


# Mathematics.


@pytest.mark.parametrize(
    ("written", "latex"),
    [
        ("a < b & c \\\\ x", "a < b & c \\\\ x"),
        ("a &lt; b &amp; c", "a < b & c"),
        ("0<p<1", "0<p<1"),
        ("\\text{<b>}", "\\text{<b>}"),
        ("\\text{</p>} + <x>", "\\text{</p>} + <x>"),
        ("x &= y &not z", "x &= y &not z"),
        ("x^{\\prime}_{i,j}*2*", "x^{\\prime}_{i,j}*2*"),
        ("$x$", "x"),
        ("\\[x\\]", "x"),
        ("a\n  + b", "a + b"),
    ],
)
@pytest.mark.parametrize(
    "place", ["<p>{}</p>", "<td>{}</td>", "{}", "<li><b>{}</b></li>"]
)
def test_latex_means_the_same_afterwards(written, latex, place):
    content = read(block(place.format(f"<math>{written}</math>")))

    assert latex in content.text
    if latex == written:
        assert seen(content.html) == latex


def test_latex_never_closed_ends_with_its_paragraph():
    assert read(block("<p><math>a < b</p><p>words</p>")).text == "a < b\n\nwords"
    assert read(block("<p><math>a < b") + block("words")).text == "a < b\n\nwords"
    assert read(block("<p><math>a < b</ma")).text.startswith("a < b")


# Any string at all.

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


# Whole pages.


def test_a_report_reads_well_as_markdown():
    expected = (DATA / "report.md").read_text("utf-8")

    assert read(REPORT, include_images=True).markdown + "\n" == expected


def test_a_page_of_chandra_2_with_every_drift_is_read():
    content = read(
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


def test_a_page_travels_between_processes():
    content = read(REPORT, include_images=True)

    assert pickle.loads(pickle.dumps(content)) == content


def test_warnings_are_counted_and_not_repeated():
    content = read(block("a", bbox="?") + block("b", bbox="!") + block("c"))

    assert [warning.to_json() for warning in content.warnings] == [
        {
            "code": "bbox_unreadable",
            "detail": "2 of 3 blocks have no readable box on the page",
        }
    ]


def test_html_of_a_page_is_one_element_per_block():
    content = read(REPORT)

    blocks = [attrs for tag, attrs in tags_in(content.html) if "data-bbox" in attrs]

    assert len(blocks) == content.html.count('<div class="block"') == 12
