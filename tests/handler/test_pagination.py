"""Separators between the pages of Markdown."""

from __future__ import annotations

import re

from hypothesis import given, strategies as st
from markdown_it import MarkdownIt

from handler.pagination import page_separator, paginate

SEPARATOR = re.compile(r"\n\n\d+-{48}\n\n")
LOOKALIKE = "7" + "-" * 48


def test_the_separator_is_that_of_chandra_ocr():
    assert page_separator(2) == "\n\n1" + "-" * 48 + "\n\n"


def test_page_without_text_is_kept():
    joined = paginate([(1, "a"), (2, ""), (5, "c")])

    assert joined == f"a{page_separator(2)}{page_separator(5)}c"


lines = st.sampled_from(["words", LOOKALIKE, f" {LOOKALIKE} ", "", "-" * 48, "1"])
pages = st.lists(
    st.lists(lines, max_size=5).map(lambda part: "\n".join(part).strip("\n"))
)


@given(texts=pages)
def test_splitting_at_separators_gives_every_page(texts):
    joined = paginate(enumerate(texts, start=1))

    parts = SEPARATOR.split(f"\n\n{joined}\n\n")
    assert len(parts) == max(1, len(texts))
    assert [part.strip("\n").replace("\\", "") for part in parts] == (texts or [""])


def test_line_like_a_separator_is_rendered_as_text():
    shown = MarkdownIt().render(paginate([(1, LOOKALIKE), (2, "end")]))

    assert shown.startswith(f"<p>{LOOKALIKE}</p>")
