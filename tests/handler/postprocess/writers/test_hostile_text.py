"""Hostile text, which must not become markup or change the formatting of a page."""

from __future__ import annotations

import pytest

from handler.postprocess.html.markup import Element
from handler.postprocess.writers.markdown import markdown_from
from tests.handler.postprocess.browser import (
    find_dangers,
    find_tags,
    render_markdown,
    visible_text,
)
from tests.handler.postprocess.pages import convert, convert_block_to_markdown
from tests.handler.postprocess.writers.hostile import (
    HREFS,
    generate_blocks,
    render_with_links,
    render_with_math,
    visible_characters,
)

TEXTS_PER_PAGE = 200


def find_faults(raw: str, *, with_math: bool) -> list[str]:
    """List the dangers in a page's Markdown, and the first difference from its HTML.

    The list is empty for a page that every reader shows unchanged.
    """
    content = convert(raw)
    html = render_markdown(content.markdown)
    faults = find_dangers(html)
    for tag, attrs in find_tags(html):
        if tag in ("img", "input"):
            faults.append(f"<{tag}>")
        if tag == "a" and attrs.get("href") not in (*HREFS, None):
            faults.append(f"href={attrs.get('href')}")
    faults += find_dangers(render_with_links(content.markdown))
    shown = render_with_math(content.markdown) if with_math else html
    actual, expected = visible_characters(shown), visible_characters(content.html)
    if actual != expected:
        pairs = enumerate(zip(actual, expected, strict=False))
        shorter = min(len(actual), len(expected))
        index = next((i for i, (a, b) in pairs if a != b), shorter)
        faults.append(
            f"{expected[index : index + 5]} is shown as {actual[index : index + 5]}"
        )
    return faults


def assert_pages_are_shown_unchanged(seeds: range) -> None:
    """Generate a page of hostile texts per seed, and fail if one has faults."""
    for seed in seeds:
        with_math = seed % 4 == 0
        blocks = list(generate_blocks(seed, TEXTS_PER_PAGE, with_math=with_math))
        if not find_faults("".join(blocks), with_math=with_math):
            continue
        # Report the blocks that fail on their own, or the whole page if none does.
        faults_of_block = {raw: find_faults(raw, with_math=with_math) for raw in blocks}
        assert {raw: faults for raw, faults in faults_of_block.items() if faults} == {}
        assert find_faults("".join(blocks), with_math=with_math) == []


def test_2000_hostile_texts_are_shown_unchanged():
    assert_pages_are_shown_unchanged(range(2_000 // TEXTS_PER_PAGE))


@pytest.mark.slow
def test_20000_hostile_texts_are_shown_unchanged():
    assert_pages_are_shown_unchanged(range(1_000, 1_000 + 20_000 // TEXTS_PER_PAGE))


ESCAPED_IMG_TAG = "&lt;img src=x onerror=alert(1)&gt;"


@pytest.mark.parametrize(
    "source",
    [
        f"<chem>A</chem><chem>`{ESCAPED_IMG_TAG}`</chem>",
        f"<code>A</code><code>`{ESCAPED_IMG_TAG}</code>",
        f"<code>{ESCAPED_IMG_TAG}</code><code>b``c</code>",
        f"<b><code>a</code></b><a><code>b`{ESCAPED_IMG_TAG}</code></a>",
        f"<math>`</math><code>{ESCAPED_IMG_TAG}</code>",
        f"<math>a``b</math><sub><code>c``{ESCAPED_IMG_TAG}</code></sub>",
        f"<sub><br>{ESCAPED_IMG_TAG}</sub>",
        f"<u>a<br></u><sup><br>{ESCAPED_IMG_TAG}</sup>",
        "&lt;1@evil.example&gt; &lt;.a@evil.example&gt;",
        "<math>&lt;1@evil.example&gt;</math>",
    ],
    ids=[
        *("adjacent formulas", "adjacent code", "longer runs", "code in marks"),
        *("a backtick in LaTeX", "two backticks in LaTeX", "a tag on its own line"),
        *("a tag on the second line", "an address of e-mail", "an address in LaTeX"),
    ],
)
def test_text_between_elements_does_not_become_markup(source):
    html = render_markdown(convert_block_to_markdown(f"<p>{source}</p>"))

    tags = {tag for tag, _ in find_tags(html)}
    assert tags <= {"p", "code", "strong", "sub", "sup", "u", "br"}
    assert "onerror" not in source or "<img src=x onerror=alert(1)>" in visible_text(
        html
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("http://a.example/&lt;img&gt;", "http://a.example/&lt;img>"),
        ("www.a.example&lt;img&gt;", "www.a.example&lt;img>"),
        ("http://a.example/<code>&lt;img&gt;</code>", "{0}<!-- -->`<img>`"),
        ("http://a.example/<b><code>&lt;img&gt;</code></b>", "{0}**<!-- -->`<img>`**"),
        (
            "http://a.example/<code>a b</code><code>&lt;img&gt;</code>",
            "{0}<!-- -->`a b`<!-- -->`<img>`",
        ),
        ("`<code>http://a.example/</code>", "&#96;`http://a.example/`"),
    ],
)
def test_bare_link_ends_before_text_that_looks_like_a_tag(source, expected):
    markdown = convert_block_to_markdown(f"<p>{source}</p>")

    assert markdown == expected.format("http://a.example/")
    assert "img" not in {tag for tag, _ in find_tags(render_with_links(markdown))}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<code>a</code><code>b</code>", "`a`<!-- -->`b`"),
        ("`<code>a</code>", "&#96;`a`"),
        ("`a`<br><code>b</code>", "&#96;a&#96;  \n`b`"),
        ("``a''", "\\`\\`a''"),
        ("<math>\\text{``a'' `b'}</math>", "$\\text{\u201ca'' \u2018b'}$"),
        ("<math>\\text{voil\\`a, \\`{E}}</math>", "$\\text{voil\u00e0, \u00c8}$"),
        ("<a href='#3'><math>[0, 1)</math></a>", "[$\\lbrack 0, 1)$](#3)"),
        ("<a href='#3'><math>\\sqrt[3]{x}</math></a>", "[$\\sqrt[3]{x}$](#3)"),
        ("<b>x.</b><i></i>y", "<b>x.</b>y"),
        ("<b>&nbsp;x</b>y", "<b>\xa0x</b>y"),
        ("<i><b>a</b>+<b>.b</b></i>", "***a**+<b>.b</b>*"),
        ("<b><math>a*b</math></b> c", "<b>$a*b$</b> c"),
        (
            "<b>a<p>b</p><i>c<hr>d</i></b>",
            "**a**\n\n**b**\n\n***c***\n\n---\n\n***d***",
        ),
        ("<del>a ~5</del> c", "~~a \\~5~~ c"),
        ("about ~5", "about ~5"),
        ("5 < 6, <6 and <none>", "5 < 6, <6 and \\<none>"),
        ("http://evil.example", "http://evil.example"),
        ("<blockquote>[!NOTE]</blockquote>", "> \\[!NOTE]"),
        ("<blockquote><a href='#3'>![a</a></blockquote>", "> [!\\[a](#3)"),
        ("<ul><li>[x] a</li></ul>", "- \\[x] a"),
        ("<ul><li><hr>a</li></ul>", "- ***\n\n  a"),
    ],
)
def test_only_ambiguous_text_is_escaped(source, expected):
    assert convert_block_to_markdown(source) == expected


@pytest.mark.parametrize("end", ["\r", "\r\n", "\x0b", "\x85", "\u2028"])
def test_line_separator_does_not_end_a_listing(end):
    pre = Element("pre", {}, [f"a{end}```{end}<b>{end}{end}![x](http://a.example)"])
    cell = Element("td", {"colspan": "2"}, [pre])
    table = Element("table", {}, [Element("tr", {}, [cell])])

    for element in (pre, Element("ul", {}, [Element("li", {}, [pre])]), table):
        markdown = markdown_from([element])
        assert {tag for tag, _ in find_tags(render_markdown(markdown))}.isdisjoint(
            {"b", "img"}
        )
        assert len(markdown.splitlines()) == markdown.count("\n") + 1


@pytest.mark.parametrize("code", range(0xFDD0, 0xFDE0))
@pytest.mark.parametrize("tag", ["p", "code", "math"])
def test_noncharacters_are_replaced_in_markdown(code, tag):
    markdown = markdown_from([Element(tag, {}, [f"a{chr(code)}`{chr(code)}b"])])

    assert "\ufffd" in markdown
    assert visible_text(render_markdown(markdown)).replace("\u2018", "`").strip(
        "$"
    ) == ("a\ufffd`\ufffdb")
