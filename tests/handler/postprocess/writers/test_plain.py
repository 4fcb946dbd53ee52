"""Plain text of each element."""

from __future__ import annotations

import pytest

from tests.handler.postprocess.pages import convert, make_block


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1>A</h1><p>b  <b>c</b><br>d</p>", "A\n\nb c\nd"),
        ("<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>", "- a\n  - b\n- c"),
        ("<ol start=4><li>a</li><li>b</li></ol>", "4. a\n5. b"),
        (
            "<table><caption>T</caption><tr><th>a</th><th>b\nc</th></tr>"
            "<tr><td colspan=2>d<br>e</td></tr></table>",
            "T\n\na\tb c\nd e",
        ),
        ("x <math>a &lt; b</math> y", "x a < b y"),
        ("x<math display=block>a \\\\ b</math>y", "x\n\na \\\\ b\n\ny"),
        ("<chem>CCO</chem>", "CCO"),
        ("<input type=checkbox checked> a <input type=radio> b", "[x] a ( ) b"),
        ("<pre>a\n  b\n</pre>", "a\n  b"),
        ("H<sub>2</sub>O *a* $5 &lt;b&gt;", "H2O *a* $5 <b>"),
        ("<a href='https://a.example'>link</a>", "link"),
        ("<hr>", ""),
    ],
)
def test_html_is_written_as_plain_text(html, text):
    assert convert(make_block(html)).text == text
