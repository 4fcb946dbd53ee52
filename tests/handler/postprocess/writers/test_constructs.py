"""HTML constructs that carry meaning beyond their text, in each output format."""

from __future__ import annotations

import re

import pytest

from tests.handler.postprocess.browser import find_tags, render_markdown
from tests.handler.postprocess.pages import (
    convert,
    convert_block_to_markdown,
    make_block,
)

# Per construct: the model's HTML, then the expected HTML, Markdown and plain text.
CONSTRUCTS = {
    "quotation": (
        "<blockquote><p>a</p><ul><li>b</li></ul></blockquote>c",
        "<blockquote><p>a</p><ul><li>b</li></ul></blockquote>c",
        "> a\n>\n> - b\n\nc",
        "    a\n\n    - b\n\nc",
    ),
    "quotation in a quotation": (
        "<blockquote>a<blockquote>b</blockquote></blockquote>",
        "<blockquote>a<blockquote>b</blockquote></blockquote>",
        "> a\n>\n> > b",
        "    a\n\n        b",
    ),
    "quotation after an unclosed paragraph": (
        "<p>a<blockquote>b</blockquote>",
        "<p>a</p><blockquote>b</blockquote>",
        "a\n\n> b",
        "a\n\n    b",
    ),
    "words in quotation marks": (
        "<p>a <q>b <q>c</q></q>.</p>",
        "<p>a “b \u2018c\u2019”.</p>",
        "a “b \u2018c\u2019”.",
        "a “b \u2018c\u2019”.",
    ),
    "quotation marks that the model wrote": (
        '<p><q>"a"</q> <q>«b»</q> <q></q></p>',
        '<p>"a" «b» </p>',
        '"a" «b»',
        '"a" «b»',
    ),
    "selected option": (
        "<p>a<select><option>b</option><option selected>c</option></select>d</p>",
        '<p>a <input type="radio" disabled=""> b '
        '<input type="radio" checked="" disabled=""> c d</p>',
        "a ( ) b (x) c d",
        "a ( ) b (x) c d",
    ),
    "selected options": (
        "<select multiple><option selected>b<option selected='selected'>c</select>",
        '<p> <input type="checkbox" checked="" disabled=""> b '
        '<input type="checkbox" checked="" disabled=""> c </p>',
        "[x] b [x] c",
        "[x] b [x] c",
    ),
    "no option selected": (
        "<p>a<select><optgroup><option>b<option>c</select>d</p>",
        "<p>a  b c d</p>",
        "a b c d",
        "a b c d",
    ),
    "reversed list": (
        "<ol reversed><li>a</li><li>b</li></ol>",
        '<ol reversed=""><li>a</li><li>b</li></ol>',
        "2. a\n\n<!-- -->\n\n1. b",
        "2. a\n1. b",
    ),
    "reversed list with a start": (
        "<ol reversed start=9><li>a</li><li>b</li></ol>",
        '<ol reversed="" start="9"><li>a</li><li>b</li></ol>',
        "9. a\n\n<!-- -->\n\n8. b",
        "9. a\n8. b",
    ),
    "lettered list": (
        "<ol type=a start=25><li>a</li><li>b</li><li><p>c</p><p>d</p></li></ol>",
        '<ol type="a" start="25"><li>a</li><li>b</li><li><p>c</p><p>d</p></li></ol>',
        "- y. a\n\n- z. b\n\n- aa. c\n\n  d",
        "y. a\nz. b\naa. c\n    d",
    ),
    "Roman list": (
        "<ol type='I' start='4'><li>a</li><li value=1990>b</li></ol>",
        '<ol type="I" start="4"><li>a</li><li value="1990">b</li></ol>',
        "- IV. a\n- MCMXC. b",
        "IV. a\nMCMXC. b",
    ),
    "list lettered by a style": (
        "<ol style='color: red; list-style-type: upper-alpha'><li>a</li></ol>",
        '<ol type="A"><li>a</li></ol>',
        "- A. a",
        "A. a",
    ),
    "lettered list in a list": (
        "<ol><li>a<ol type=a><li>b</li></ol></li></ol>",
        '<ol><li>a<ol type="a"><li>b</li></ol></li></ol>',
        "1. a\n   - a. b",
        "1. a\n   a. b",
    ),
    "list that skips numbers": (
        "<ol start=3><li>a</li><li value=7>b</li><li>c</li></ol>",
        '<ol start="3"><li>a</li><li value="7">b</li><li>c</li></ol>',
        "3. a\n\n<!-- -->\n\n7. b\n8. c",
        "3. a\n7. b\n8. c",
    ),
    "list with a negative start": (
        "<ol start=-1><li>a</li><li>b</li></ol>",
        '<ol start="-1"><li>a</li><li>b</li></ol>',
        "- -1. a\n- 0\\. b",
        "-1. a\n0. b",
    ),
    "list with invalid numbers": (
        "<ol type=x start=y><li value=z>a</li></ol>",
        "<ol><li>a</li></ol>",
        "1. a",
        "1. a",
    ),
    "direction of a paragraph": (
        "<p dir='RTL'>אבג</p><p dir=up style='direction: rtl'>א</p>",
        '<p dir="rtl">אבג</p><p>א</p>',
        "אבג\n\nא",
        "אבג\n\nא",
    ),
    "direction of words": (
        "<p>a <bdo dir='rtl'>b</bdo><bdi>c</bdi></p>",
        '<p>a <bdo dir="rtl">b</bdo><bdi>c</bdi></p>',
        "a bc",
        "a bc",
    ),
    "direction of a table": (
        "<table dir=rtl><tr><th>א</th><th>ב</th></tr></table>",
        '<table dir="rtl"><tbody><tr><th>א</th><th>ב</th></tr></tbody></table>',
        '<table dir="rtl"><tbody>\n<tr><th>א</th><th>ב</th></tr></tbody></table>',
        "א\tב",
    ),
    "alignment by a style": (
        "<table><tr><th style='text-align:right'>a</th></tr></table>",
        '<table><tbody><tr><th align="right">a</th></tr></tbody></table>',
        "| a |\n| ---: |",
        "a",
    ),
    "ruby text": (
        "<p><ruby>漢<rt>かん</rt>字<rp>(</rp><rt>じ</rt><rp>)</rp></ruby>x</p>",
        "<p><ruby>漢<rt>かん</rt>字<rt>じ</rt></ruby>x</p>",
        "漢(かん)字(じ)x",
        "漢(かん)字(じ)x",
    ),
    "unclosed ruby text": (
        "<p><ruby>a<rp>(<rt>b<rp>)</ruby>c<ruby>d<rt></ruby></p>",
        "<p><ruby>a<rt>b</rt></ruby>c<ruby>d<rt></rt></ruby></p>",
        "a(b)cd",
        "a(b)cd",
    ),
    "fields and ruby text in a listing": (
        "<pre>a<input type=text value=b><ruby>c<rt>d</rt></ruby>\n  e</pre>",
        '<pre>a<input type="text" value="b" disabled=""><ruby>c<rt>d</rt></ruby>\n'
        "  e</pre>",
        "```\nabc(d)\n  e\n```",
        "abc(d)\n  e",
    ),
    "environment for displayed formulas": (
        "<p>a <math>\\begin{align*}b&amp;=c\\end{align*}</math> d</p>",
        '<p>a <math display="block">\\begin{align*}b&amp;=c\\end{align*}</math> d</p>',
        "a\n\n$$\\begin{align*}b&=c\\end{align*}$$\n\nd",
        "a\n\n\\begin{align*}b&=c\\end{align*}\n\nd",
    ),
    "numbered formula": (
        "<math display=inline>a \\tag{1}</math>",
        '<math display="block">a \\tag{1}</math>',
        "$$a \\tag{1}$$",
        "a \\tag{1}",
    ),
    "environment for formulas in a line": (
        "<p>a <math>\\begin{aligned}b\\end{aligned}</math></p>",
        "<p>a <math>\\begin{aligned}b\\end{aligned}</math></p>",
        "a $\\begin{aligned}b\\end{aligned}$",
        "a \\begin{aligned}b\\end{aligned}",
    ),
    "MathML": (
        "<p><math><mfrac><mi>a</mi><mn>2</mn></mfrac></math></p>",
        "<p><math>\\frac{a}{2}</math></p>",
        "$\\frac{a}{2}$",
        "\\frac{a}{2}",
    ),
    "one dollar in a paragraph": (
        "<p>a $5</p><p>b $6</p><h2>$7</h2>",
        "<p>a $5</p><p>b $6</p><h2>$7</h2>",
        "a $5\n\nb $6\n\n## $7",
        "a $5\n\nb $6\n\n$7",
    ),
    "two dollars in a paragraph": (
        "<p>a $5<br>b $6</p><p>$7 <math>x</math></p>",
        "<p>a $5<br>b $6</p><p>$7 <math>x</math></p>",
        "a \\$5  \nb \\$6\n\n\\$7 $x$",
        "a $5\nb $6\n\n$7 x",
    ),
}


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_construct_is_kept_in_html(name):
    source, html, _, _ = CONSTRUCTS[name]

    assert convert(make_block(source)).blocks[0].html == html


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_construct_is_written_as_markdown(name):
    source, _, expected, _ = CONSTRUCTS[name]

    assert convert_block_to_markdown(source) == expected


@pytest.mark.parametrize("name", CONSTRUCTS)
def test_construct_is_written_as_plain_text(name):
    source, _, _, text = CONSTRUCTS[name]

    assert convert(make_block(source)).text == text


# Labels inside a Complex-Block.


def test_inner_labels_are_kept_and_format_their_content():
    inner = (
        '<div data-bbox="[1, 2, 3, 4]" data-label="section header">a</div>'
        '<div data-label="Code-Block">b</div><div data-label="Text">c</div>'
    )

    content = convert(make_block(inner, "Complex-Block") + make_block("d"))

    assert [block.label for block in content.blocks] == ["Complex-Block", "Text"]
    assert content.blocks[0].html == (
        '<div data-label="Section-Header"><h2>a</h2></div>'
        '<div data-label="Code-Block"><pre>b</pre></div>'
        '<div data-label="Text"><p>c</p></div>'
    )
    assert content.markdown == "## a\n\n```\nb\n```\n\nc\n\nd"
    assert content.text == "a\n\nb\n\nc\n\nd"


def test_inner_label_does_not_close_outer_elements():
    inner = "<div><b>a</b><div data-label='Text'>b</div>c</div>"

    content = convert(make_block(inner, "Complex-Block"))

    assert content.blocks[0].html == (
        '<div><b>a</b><div data-label="Text"><p>b</p></div>c</div>'
    )
    assert content.text == content.markdown.replace("*", "") == "a\n\nb\n\nc"


# Cells that span rows and columns, in plain text.


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ("<tr><td rowspan=2>a<td>b<tr><td>c", "a\tb\n\tc"),
        ("<tr><td>a<td rowspan=2>b<td>c<tr><td>d<td>e", "a\tb\tc\nd\t\te"),
        ("<tr><td colspan=2>a<td>b<tr><td>c<td>d<td>e", "a\t\tb\nc\td\te"),
        ("<tr><td rowspan=0>a<td>b<tr><td>c<tr><td>d", "a\tb\n\tc\n\td"),
        ("<tr><td rowspan=2>a<td rowspan=2>b<tr><tr><td>c", "a\tb\n\nc"),
        ("<tr><td rowspan=9999>a<td>b<tr><td colspan=9999>c", "a\tb\n\tc"),
        ("<tr><td rowspan=x>a<tr><td>b", "a\nb"),
    ],
)
def test_cells_in_plain_text_stay_in_their_columns(rows, text):
    assert convert(make_block(f"<table>{rows}</table>", "Table")).text == text


@pytest.mark.parametrize(
    "rows",
    [
        "<tr><td rowspan=9999>a" * 3_000,
        "<tr>" + "<td>a" * 3_000 + "<tr><td colspan=9999>b" * 3_000,
    ],
    ids=["rows", "columns"],
)
def test_huge_spans_do_not_inflate_plain_text(rows):
    content = convert(f"<table>{rows}</table>", prompt_type="ocr")

    assert len(content.text) < 100_000


# LaTeX comments, which end with their line.

LATEX_WITH_COMMENT = "a\n\n= b % note\n# c"


@pytest.mark.parametrize(
    "place",
    [
        "<p>{}</p>",
        "<ul><li>{}</li></ul>",
        "<table><tr><td colspan=2>{}</td></tr></table>",
    ],
)
@pytest.mark.parametrize("display", ["", " display='block'"])
def test_latex_comment_hides_nothing_after_its_line(place, display):
    source = place.format(f"<math{display}>{LATEX_WITH_COMMENT}</math>")

    markdown = convert_block_to_markdown(source)

    assert "# c" in re.sub(r"(?<!\\)%.*", "", markdown)
    assert "h1" not in {tag for tag, _ in find_tags(render_markdown(markdown))}


def test_line_break_after_latex_comment_is_kept():
    content = convert(make_block(f"<math display='block'>{LATEX_WITH_COMMENT}</math>"))

    assert content.text == "a = b % note\n# c"
    assert content.blocks[0].html.endswith(">a\n\n= b % note\n# c</math>")


@pytest.mark.parametrize("latex", ["50\\%\nx", "50%", "a\nb"])
def test_other_line_breaks_in_a_formula_are_spaces(latex):
    assert convert_block_to_markdown(f"<math>{latex}</math>") == f"${latex}$".replace(
        "\n", " "
    )
