"""LaTeX in the HTML of a page."""

from __future__ import annotations

import pytest

from tests.handler.postprocess.browser import visible_text
from tests.handler.postprocess.pages import convert, make_block


@pytest.mark.parametrize(
    ("source", "latex"),
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
    "surrounding_html", ["<p>{}</p>", "<td>{}</td>", "{}", "<li><b>{}</b></li>"]
)
def test_latex_is_preserved(source, latex, surrounding_html):
    content = convert(make_block(surrounding_html.format(f"<math>{source}</math>")))

    assert latex in content.text
    if latex == source:
        assert visible_text(content.html) == latex


def test_unclosed_latex_ends_with_its_paragraph():
    assert (
        convert(make_block("<p><math>a < b</p><p>words</p>")).text == "a < b\n\nwords"
    )
    assert (
        convert(make_block("<p><math>a < b") + make_block("words")).text
        == "a < b\n\nwords"
    )
    assert convert(make_block("<p><math>a < b</ma")).text.startswith("a < b")
