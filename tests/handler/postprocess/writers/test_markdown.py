"""Markdown of each element, and escaping of text."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings, strategies as st

from tests.handler.postprocess.browser import find_tags, render_markdown, visible_text
from tests.handler.postprocess.pages import (
    convert,
    convert_block_to_markdown,
    make_block,
)

HTML_ESCAPES = str.maketrans({"<": "&lt;", ">": "&gt;", "&": "&amp;"})

SPECIAL_TEXTS = st.text("\\`*_{}[]()<>#+-.!|~$&;:=\"'/ ab1ü「", max_size=12)


@settings(max_examples=1500, deadline=None)
@given(SPECIAL_TEXTS)
@example("# not a heading")
@example("1. x")
@example("2) x")
@example("* x")
@example("- x")
@example("+ x")
@example("> x")
@example("---")
@example("- - -")
@example("===")
@example("***")
@example("~~~")
@example("```")
@example("[a](b)")
@example("![a](b)")
@example("[a]: b")
@example("[a][b]")
@example("<tag>")
@example("<http://a.example>")
@example("&amp; &copy; &#65;")
@example("a\\*b \\\\ c\\")
@example("__init__ snake_case _x_")
@example("~~gone~~ ~5 and ~6~")
@example("$5 and $6")
@example("a | b")
def test_text_that_looks_like_markdown_is_shown_unchanged(text):
    markdown = convert_block_to_markdown(f"<p>{text.translate(HTML_ESCAPES)}</p>")

    assert visible_text(render_markdown(markdown)) == " ".join(text.split())
    assert {tag for tag, _ in find_tags(render_markdown(markdown))} <= {"p"}


ELEMENTS = {
    "an entry": "<ul><li>{}</li></ul>",
    "a heading": "<h2>{}</h2>",
    "a cell": "<table><tr><th>{}</th></tr><tr><td>x</td></tr></table>",
    "a wide cell": "<table><tr><td colspan=2>{}</td></tr></table>",
    "bold": "<p>a <b>{}</b> b</p>",
    "close to bold": "<p>x{}<b>b</b>{}x</p>",
    "bold in a word": "<p>x<b>{}</b>x</p>",
    "a link": "<p><a href='https://a.example'>{}</a></p>",
    "next to a link": "<p>{}<a href='https://a.example'>x</a>{}</p>",
    "code": "<p>x <code>{}</code> x</p>",
    "a listing": "<pre>x\n{}</pre>",
    "lines": "<p>x<br>{}<br>x</p>",
    "next to a field": "<p><input type=checkbox>{}</p>",
    "raised": "<p>x<sup>{}</sup></p>",
}


@settings(max_examples=1500, deadline=None)
@given(SPECIAL_TEXTS, st.sampled_from(sorted(ELEMENTS)))
def test_special_characters_are_text_in_every_element(text, element):
    content = convert(
        make_block(ELEMENTS[element].replace("{}", text.translate(HTML_ESCAPES)))
    )

    # Plain text has a bullet before the entry, which the rendered Markdown has not.
    text = content.text.removeprefix("- ") if element == "an entry" else content.text
    shown_text = visible_text(render_markdown(content.markdown))
    assert shown_text.replace(" ", "") == re.sub("[ \n\t]", "", text)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<h1>a</h1><h6>b</h6>", "# a\n\n###### b"),
        ("<h2>a<br>b</h2>", "## a b"),
        ("<h1># C #</h1>", "# # C \\#"),
        ("<h3></h3>x", "x"),
        ("<p>a</p>b<p>c</p>", "a\n\nb\n\nc"),
        ("<p>a<br>b<br><br>c</p>", "a  \nb\n\nc"),
        ("<p>a\n  b</p>", "a b"),
        ("<b>a</b> <i>b</i> <del>c</del> <u>d</u>", "**a** *b* ~~c~~ <u>d</u>"),
        ("<b><i>a</i></b>", "***a***"),
        ("<b>a<b>b</b></b>", "**ab**"),
        ("a<b> b </b>c", "a **b** c"),
        ("<b>a<br>b</b>", "**a**  \n**b**"),
        ("<strong>「a」</strong>は", "<b>「a」</b>は"),
        ("<b>Note:</b>x", "<b>Note:</b>x"),
        ("<b>Note:</b> x", "**Note:** x"),
        ("H<sub>2</sub>O x<sup>2</sup>", "H<sub>2</sub>O x<sup>2</sup>"),
        ("<small>a</small><big>b</big><span>c</span>", "abc"),
        ("<hr>", "---"),
        ("<code>a`b</code>", "``a`b``"),
        ("<chem>C[C@H](O)C</chem>", "`C[C@H](O)C`"),
        (
            "a_b __c__ 5 * 3 * 2 [1] snake_case",
            "a_b \\_\\_c\\_\\_ 5 * 3 * 2 [1] snake_case",
        ),
        ("Name: ______", "Name: ______"),
        ("1. a", "1\\. a"),
        ("1.5 m", "1.5 m"),
        ("#5", "#5"),
        ("AT&amp;T &amp; &amp;lt;", "AT&T & \\&lt;"),
    ],
)
def test_html_is_written_as_markdown(html, expected):
    assert convert_block_to_markdown(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<math>x</math>", "$x$"),
        ("a <math display='block'>x</math> b", "a\n\n$$x$$\n\nb"),
        ("<math display='inline'>x</math>", "$x$"),
        ("<math></math>a", "a"),
        ("<math>a</math><math>b</math>", "$a$ $b$"),
        ("<math>a</math>5", "$a$ 5"),
        ("<math>\\text{<b>}</math>", "$\\text{< b>}$"),
        ("<math>f[x](y)</math>", "$f[x] (y)$"),
        ("<math>a $ b</math>", "$a \\$ b$"),
        ("<math>a\\$ b</math>", "$a\\$ b$"),
        ("<math>a \\\\ b * c_1 * d</math>", "$a \\\\ b * c_1 * d$"),
        ("<h2>On <math>x</math></h2>", "## On $x$"),
    ],
)
def test_latex_is_written_as_markdown(html, expected):
    assert convert_block_to_markdown(html) == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<ul><li>a</li><li>b</li></ul>", "- a\n- b"),
        ("<ul><li><p>a</p></li></ul>", "- a"),
        ("<ol><li>a</li><li>b</li></ol>", "1. a\n2. b"),
        ("<ol start='9'><li>a</li><li>b</li></ol>", "9. a\n10. b"),
        ("<ol start='x'><li>a</li></ol>", "1. a"),
        ("<ol start='99999999999'><li>a</li></ol>", "1. a"),
        (
            "<ul><li>a<ul><li>b<ol><li>c</li></ol></li></ul></li></ul>",
            "- a\n  - b\n    1. c",
        ),
        ("<ol><li>a<ul><li>b</li></ul></li></ol>", "1. a\n   - b"),
        ("<ul><li>a</li><ul><li>b</li></ul></ul>", "- a\n  - b"),
        ("<ul><li>a<ol start=3><li>b</li></ol></li></ul>", "- a\n\n  3. b"),
        ("<ul><li><p>a</p><p>b</p></li><li>c</li></ul>", "- a\n\n  b\n\n- c"),
        ("<ul><li></li><li>b</li></ul>", "-\n- b"),
        ("<ul><li>- a</li></ul>", "- \\- a"),
        ("<ul><li>a<br>b</li></ul>", "- a  \n  b"),
        ("<ul>a<li>b</li></ul>", "- a\n- b"),
        ("<ol><li>a</li></ol><ol><li>b</li></ol>", "1. a\n\n<!-- -->\n\n1. b"),
        ("<ul><li><input type='checkbox' checked> a</li></ul>", "- [x] a"),
    ],
)
def test_lists_are_written_as_markdown(html, expected):
    assert convert_block_to_markdown(html, "List-Group") == expected


def test_adjacent_lists_keep_their_own_numbers():
    content = convert(
        make_block("<ol><li>a</li></ol>") + make_block("<ol><li>b</li></ol>")
    )

    assert render_markdown(content.markdown).count("<ol>") == 2


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (
            "<table><tr><th>a</th><th>b</th></tr><tr><td>c</td><td>d</td></tr></table>",
            "| a | b |\n| --- | --- |\n| c | d |",
        ),
        (
            "<table><tr><td>c</td><td>d</td></tr></table>",
            "|  |  |\n| --- | --- |\n| c | d |",
        ),
        (
            "<table><thead><tr><td>a</td></tr></thead><tbody><tr><td>b</td></tr></tbody></table>",
            "| a |\n| --- |\n| b |",
        ),
        (
            "<table><tr><th>a</th></tr><tr><td>b</td><td>c</td></tr></table>",
            "| a |  |\n| --- | --- |\n| b | c |",
        ),
        (
            "<table><caption>Table 1</caption><tr><th>a</th></tr></table>",
            "Table 1\n\n| a |\n| --- |",
        ),
        (
            "<table><tr><th><p>a</p><p>b</p></th><th>c<br>d | e</th></tr></table>",
            "| a<br>b | c<br>d \\| e |\n| --- | --- |",
        ),
        (
            "<table><tr><th><math>|x|</math></th><th><code>a|b</code></th></tr></table>",
            "| $\\|x\\|$ | `a\\|b` |\n| --- | --- |",
        ),
        (
            "<table><tr><td colspan=2>a</td></tr><tr><td>b</td><td>c\n\nd</table>",
            '<table><tbody>\n<tr><td colspan="2">a</td></tr>\n<tr><td>b</td><td>c d'
            "</td></tr></tbody></table>",
        ),
        (
            "<table><tr><td><ul><li>a</li></ul></td></tr></table>",
            "<table><tbody>\n<tr><td><ul><li>a</li></ul></td></tr></tbody></table>",
        ),
        (
            "<table><tr><td><pre>a\n\nb</pre></td></tr></table>",
            "<table><tbody>\n<tr><td><pre>a<br><br>b</pre></td></tr></tbody></table>",
        ),
        ("<table></table>", ""),
    ],
)
def test_tables_are_written_as_markdown(html, expected):
    assert convert_block_to_markdown(html, "Table") == expected


def test_table_of_pipes_has_all_cells():
    rows = "".join(f"<tr><td>{n}|</td><td>`{n}`</td></tr>" for n in range(5))

    html = render_markdown(convert_block_to_markdown(f"<table>{rows}</table>", "Table"))

    assert sum(tag == "td" for tag, _ in find_tags(html)) == 10


def test_table_with_one_long_row_is_html():
    table = "<tr>" + "<td>a</td>" * 500 + "</tr>" + "<tr><td>b</td></tr>" * 500

    assert convert_block_to_markdown(f"<table>{table}</table>", "Table").startswith(
        "<table>"
    )


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<pre>a\n  b\n</pre>", "```\na\n  b\n```"),
        ("<pre>\n\na\n</pre>", "```\na\n```"),
        ("<pre>```\nb</pre>", "````\n```\nb\n````"),
        ("<pre>a<br>b</pre>", "```\na\nb\n```"),
        ("<pre>&lt;b&gt; *a* $b$</pre>", "```\n<b> *a* $b$\n```"),
        ("<pre><code class='language-c++'>a</code></pre>", "```c++\na\n```"),
        ("<pre class='mermaid'>a</pre>", "```mermaid\na\n```"),
        ("<pre> </pre>", ""),
    ],
)
def test_listings_are_written_as_markdown(html, expected):
    assert convert_block_to_markdown(html, "Code-Block") == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<input type=checkbox checked=checked> a", "[x] a"),
        ("<input type=checkbox>a", "[ ]a"),
        ("<input type=checkbox>(a)", "[ \\](a)"),
        ("<input type=radio checked> a <input type=radio> b", "(x) a ( ) b"),
        ("a <input type=text value='b*c*'>", "a b\\*c\\*"),
        ("a <input type=text> b", "a ____ b"),
        ("a <input> b", "a ____ b"),
    ],
)
def test_form_fields_are_written_as_markdown(html, expected):
    assert convert_block_to_markdown(html, "Form") == expected


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        (
            "<a href='https://a.example/b(c) d'>x</a>",
            "[x](https://a.example/b%28c%29%20d)",
        ),
        ("<a href='https://a.example/_b_'>x_y</a>", "[x_y](https://a.example/_b_)"),
        ("<a href='?a=1&amp;copy;=2'>x</a>", "[x](?a=1&amp;copy;=2)"),
        ("<a href='https://a.example'>a] [b</a>", "[a\\] \\[b](https://a.example)"),
        ("<a href='https://a.example'><b>x</b></a>", "[**x**](https://a.example)"),
        ("<a href='https://a.example'></a>x", "x"),
        ("<a>x</a>", "x"),
        ("a<a href='#b'> x </a>b", "a [x](#b) b"),
    ],
)
def test_links_are_written_as_markdown(html, expected):
    assert convert_block_to_markdown(html) == expected


def test_description_is_escaped_in_its_picture():
    content = convert(
        make_block('<img alt="a](b) *c*\n\nd">', "Image"), include_images=True
    )

    assert content.markdown == "![a\\](b) \\*c\\* d](page-1-figure-1.webp)"
    assert [tag for tag, _ in find_tags(render_markdown(content.markdown))] == [
        "p",
        "img",
    ]


@pytest.mark.parametrize(
    "source",
    [
        "<table><tr><th>a</th></tr><tr><td>b|c</td></tr></table>",
        "<ul><li>x<table><tr><td>b</td></tr></table></li></ul>",
        "<table><caption>d</caption><tr><td>b<table><tr><td>e</td></tr></table></td>"
        "</tr></table>",
    ],
)
def test_html_tables_option_writes_every_table_as_html(source):
    markdown = convert_block_to_markdown(source, html_tables=True)

    assert markdown.count("<table>") == source.count("<table>")
    words = visible_text(render_markdown(markdown)).split()
    assert "".join(words) == visible_text(source)
