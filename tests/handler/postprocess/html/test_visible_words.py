"""Visible words of random pages, which must be neither lost, joined nor invented.

Pages consist of the HTML that models write. Visible words use one alphabet, and words
in descriptions, attributes and comments another. Beautiful Soup is the reference.
"""

from __future__ import annotations

import re

from bs4 import BeautifulSoup
from bs4.element import NavigableString, PageElement, PreformattedString, Tag
from hypothesis import given, settings, strategies as st

from handler.postprocess.blocks.layout import LABELS
from tests.handler.postprocess.browser import render_markdown
from tests.handler.postprocess.pages import convert, make_block

# Letters and Roman numerals of lists never have three of these in a row.
VISIBLE_WORDS = st.text("bghjkqwz", min_size=3, max_size=6)
INVISIBLE_WORDS = st.text("nrst", min_size=4, max_size=6)
VISIBLE_WORD_PATTERN = re.compile("[bghjkqwz]{3,}")
INVISIBLE_WORD_PATTERN = re.compile("[nrst]{4,}")

# Tags that do not separate the words on both sides.
JOINING_TAGS = (
    *("abbr", "b", "bdi", "big", "del", "em", "font", "i", "ins", "label", "mark"),
    *("s", "small", "span", "strong", "sub", "sup", "u"),
)


def _element(tag: str, content: str, attrs: str = "") -> str:
    return f"<{tag}{attrs}>{content}</{tag}>"


ATTRIBUTE_TEXTS = st.one_of(
    st.just(""),
    INVISIBLE_WORDS.map(lambda word: f' class="{word}"'),
    INVISIBLE_WORDS.map(lambda word: f' title="{word}" data-x="{word}"'),
    st.sampled_from([' dir="rtl"', ' align="center"', " style='color: red'"]),
)

INLINE_PIECES = st.one_of(
    VISIBLE_WORDS,
    st.tuples(VISIBLE_WORDS, VISIBLE_WORDS).map(" ".join),
    st.sampled_from([" ", "<br>", "\n", " $5 ", " * ", " _ ", " [", "] "]),
    INVISIBLE_WORDS.map(lambda word: f"<!-- {word} -->"),
    INVISIBLE_WORDS.map(lambda word: f"<script>{word}</script>"),
    INVISIBLE_WORDS.map(lambda word: f'<img alt="{word}"/>'),
    INVISIBLE_WORDS.map(lambda word: f' <input type="checkbox" name="{word}"> '),
    VISIBLE_WORDS.map(lambda word: f' <input type="text" value="{word}"> '),
    VISIBLE_WORDS.map(lambda word: f" <math>\\frac{{{word}}}{{2}}</math> "),
    VISIBLE_WORDS.map(
        lambda word: f" <math><mfrac><mi>{word}</mi><mn>2</mn></mfrac></math> "
    ),
    VISIBLE_WORDS.map(lambda word: f'<a href="https://a.example/x">{word}</a>'),
    VISIBLE_WORDS.map(lambda word: f" <chem>{word}</chem> "),
    VISIBLE_WORDS.map(lambda word: f" <code>{word}</code> "),
    st.tuples(VISIBLE_WORDS, VISIBLE_WORDS).map(
        lambda words: (
            f"<ruby>{words[0]}<rp>(</rp><rt>{words[1]}</rt><rp>)</rp></ruby>"
        )
    ),
    st.lists(
        st.tuples(VISIBLE_WORDS, st.sampled_from(["", " selected"])),
        min_size=1,
        max_size=3,
    ).map(
        lambda options: _element(
            "select",
            "".join(_element("option", word, chosen) for word, chosen in options),
        )
    ),
)  # fmt: skip


def _inline_elements(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda tag, parts, attrs: _element(tag, "".join(parts), attrs),
        st.sampled_from([*JOINING_TAGS, "q"]),
        st.lists(children, max_size=3),
        ATTRIBUTE_TEXTS,
    )


INLINE = st.lists(
    st.recursive(INLINE_PIECES, _inline_elements, max_leaves=4), min_size=1, max_size=4
).map("".join)


def _block_elements(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    contents = st.lists(children, min_size=1, max_size=3)
    item = st.one_of(
        contents.map(lambda parts: _element("li", "".join(parts))),
        children.map(lambda part: _element("li", part, ' value="7"')),
    )
    cell = st.builds(
        lambda tag, content, attrs: _element(tag, content, attrs),
        st.sampled_from(["td", "th"]),
        st.one_of(st.just(""), children),
        st.sampled_from(["", "", ' colspan="2"', ' rowspan="2"', ' align="right"']),
    )
    row = st.lists(cell, min_size=1, max_size=3).map(
        lambda cells: _element("tr", "".join(cells))
    )
    return st.one_of(
        st.builds(
            lambda tag, parts, attrs: _element(tag, "".join(parts), attrs),
            st.sampled_from(["div", "blockquote", "section", "center"]),
            contents,
            ATTRIBUTE_TEXTS,
        ),
        st.builds(
            lambda tag, items, attrs: _element(tag, "".join(items), attrs),
            st.sampled_from(["ol", "ul"]),
            st.lists(item, min_size=1, max_size=3),
            st.sampled_from(["", " reversed", ' type="a"', ' start="-1"', ' type="I"']),
        ),
        st.builds(
            lambda caption, rows, attrs: _element(
                "table", caption + "".join(rows), attrs
            ),
            st.one_of(st.just(""), INLINE.map(lambda text: _element("caption", text))),
            st.lists(row, min_size=1, max_size=3),
            st.sampled_from(["", ' border="1"', ' dir="rtl"']),
        ),
    )


PARAGRAPHS = st.one_of(
    INLINE,
    st.builds(
        lambda tag, content, attrs: _element(tag, content, attrs),
        st.sampled_from(["p", "h1", "h5", "dt", "dd"]),
        INLINE,
        ATTRIBUTE_TEXTS,
    ),
    st.lists(VISIBLE_WORDS, min_size=1, max_size=3).map(
        lambda lines: _element("pre", "\n\n".join(lines))
    ),
)
CONTENT = st.recursive(PARAGRAPHS, _block_elements, max_leaves=5)
INNER_LABELS = st.sampled_from(["Text", "Code-Block", "Section-Header", "Form"])
INNER_BLOCKS = st.builds(
    lambda label, content: _element("div", content, f' data-label="{label}"'),
    INNER_LABELS,
    PARAGRAPHS,
)
WITHOUT_IMAGES = sorted({*LABELS} - {"Blank-Page", "Diagram", "Figure", "Image"})
PAGES = st.lists(
    st.one_of(
        st.builds(make_block, CONTENT, st.sampled_from(WITHOUT_IMAGES)),
        st.builds(
            lambda parts: make_block("".join(parts), "Complex-Block"),
            st.lists(st.one_of(CONTENT, INNER_BLOCKS), min_size=1, max_size=3),
        ),
        CONTENT,
    ),
    min_size=1,
    max_size=3,
).map("".join)


def visible_words(html: str) -> list[str]:
    """Return the words that a browser shows of HTML, as Beautiful Soup parses it."""
    return VISIBLE_WORD_PATTERN.findall(
        " ".join(_visible_texts(BeautifulSoup(html, "html.parser")))
    )


_ALL_JOINING_TAGS = frozenset(JOINING_TAGS) | {"a", "ruby"}


def _visible_texts(node: PageElement) -> list[str]:
    """Return the visible text below a node, in pieces that are separate words."""
    if isinstance(node, NavigableString) and not isinstance(node, PreformattedString):
        return [str(node)]
    if not isinstance(node, Tag) or node.name in ("script", "rp"):
        return [""]
    pieces = [""]
    if node.name == "input":
        pieces.append(str(node.get("value", "")))
    for child in node.children:
        first, *others = _visible_texts(child)
        pieces[-1] += first
        pieces += others
    joins_words = node.name in _ALL_JOINING_TAGS or not any(map(str.strip, pieces))
    separates_words = node.name in ("br", "hr", "img", "input") or not joins_words
    return ["", *pieces, ""] if separates_words else pieces


def _remove_classes(html: str) -> str:
    return re.sub('class="[a-z]*"', "", html)


@settings(max_examples=70, deadline=None)
@given(PAGES)
def test_every_format_has_exactly_the_visible_words(raw):
    content = convert(raw, include_headers_footers=True)

    expected = visible_words(raw)
    assert VISIBLE_WORD_PATTERN.findall(content.text) == expected
    assert visible_words(render_markdown(content.markdown)) == expected
    assert visible_words(content.html) == expected
    for output in (content.text, content.markdown, content.html):
        assert INVISIBLE_WORD_PATTERN.findall(_remove_classes(output)) == []


@settings(max_examples=40, deadline=None)
@given(CONTENT, st.sampled_from(["Diagram", "Figure", "Image"]), st.booleans())
def test_plain_text_of_picture_blocks_has_no_descriptions(
    content, label, include_images
):
    raw = make_block(content, label)

    text = convert(raw, include_images=include_images).text

    assert VISIBLE_WORD_PATTERN.findall(text) == visible_words(raw)
    assert INVISIBLE_WORD_PATTERN.findall(text) == []
