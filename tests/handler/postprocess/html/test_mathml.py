"""Translation of MathML to LaTeX."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings, strategies as st

from handler.postprocess.html.mathml import is_mathml, latex_from_mathml
from tests.handler.postprocess.pages import convert, make_block


@pytest.mark.parametrize(
    ("mathml", "latex"),
    [
        ("<mi>x</mi><mo>=</mo><mn>1.5</mn>", "x = 1.5"),
        ("<mi>sin</mi><mo>\u2061</mo><mi>x</mi>", r"\sin x"),
        ("<mi>rate</mi>", r"\mathrm{rate}"),
        ("<mfrac><mn>1</mn><mrow><mi>a</mi><mn>2</mn></mfrac>", r"\frac{1}{a 2}"),
        ("<msup><mi>x</mi><mn>2</mn></msup>", "x^{2}"),
        ("<msub><mrow><mi>x</mi><mi>y</mi></mrow><mi>i</mi></msub>", "{x y}_{i}"),
        ("<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>", "x_{i}^{2}"),
        ("<msqrt><mi>a</mi><mi>b</mi></msqrt>", r"\sqrt{a b}"),
        ("<mroot><mi>a</mi><mn>3</mn></mroot>", r"\sqrt[3]{a}"),
        ("<munderover><mo>∑</mo><mi>i</mi><mi>n</mi></munderover>", "∑_{i}^{n}"),
        ("<munder><mo>lim</mo><mi>x</mi></munder>", r"\lim_{x}"),
        ("<munder><mi>a</mi><mi>b</mi></munder>", r"\underset{b}{a}"),
        ("<mover><mi>x</mi><mo>¯</mo></mover>", r"\bar{x}"),
        ("<mover><mi>x</mi><mo>^</mo></mover>", r"\hat{x}"),
        ("<mover><mi>x</mi><mi>y</mi></mover>", r"\overset{y}{x}"),
        ("<mfenced><mi>a</mi><mi>b</mi></mfenced>", r"\left( a, b \right)"),
        ("<mfenced open='{' close=''><mi>a</mi></mfenced>", r"\left\{ a \right."),
        ("<mtext>if $5 &</mtext>", r"\text{if \$5 \&}"),
        ("<mo>{</mo><mo>%</mo><mo>\u2212</mo>", r"\{ \% -"),
        (
            "<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>2</mn></mtd></mtr>"
            "<mtr><mtd><mn>3</mn></mtd></mtr></mtable>",
            r"\begin{matrix} 1 & 2 \\ 3 \end{matrix}",
        ),
        (
            "<semantics><mi>x</mi><annotation encoding='application/x-tex'>x_1"
            "</annotation></semantics>",
            "x_1",
        ),
        (
            "<semantics><mi>x</mi><annotation encoding='text/plain'>y"
            "</annotation></semantics>",
            "x",
        ),
        ("<mstyle><mpadded><MI>x</MI></mpadded></mstyle>", "x"),
        ("<mml:mi>x</mml:mi>", "x"),
        ("<mo><</mo><mi>x</mi>", "< x"),
        ("<mfrac><mi>a</mi></mfrac>", r"\frac{a}{}"),
        ("<mfrac><mi>a</mi><mi>b</mi><mi>c</mi></mfrac>", r"\frac{a}{b} c"),
        ("<mrow><mi>x</mi><mfrac><mi>y", r"x \frac{y}{}"),
    ],
)  # fmt: skip
def test_mathml_is_translated_to_latex(mathml, latex):
    assert is_mathml(mathml)
    assert latex_from_mathml(mathml) == latex


@pytest.mark.parametrize(
    "latex", ["x", "a<b", "a <mi b", r"\text{<b>x</b>}", "<mi>x", "</mi>x<mi>"]
)
def test_latex_is_not_mistaken_for_mathml(latex):
    assert not is_mathml(latex)


TAGS = (
    *("mi", "mn", "mo", "mrow", "mfrac", "msup", "msubsup", "munderover"),
    *("mtable", "mtr", "mtd", "mfenced"),
)
FORMULA_PIECES = st.one_of(
    st.sampled_from([f"<{tag}>" for tag in TAGS] + [f"</{tag}>" for tag in TAGS]),
    st.sampled_from(["qua", "rt", "<", "&lt;", "{", "%", "\\"]),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(FORMULA_PIECES, max_size=40).map("".join))
def test_malformed_mathml_loses_no_word(formula):
    text = convert(make_block(f"<math><mi>qua</mi>{formula}</math>")).text

    words = re.findall("[a-z]+", re.sub(r"<[^<>]*>", " ", formula))
    assert len(re.findall("qua|rt", text)) >= len(re.findall("qua|rt", " ".join(words)))


@pytest.mark.parametrize("source", ["<mi>x", "<mrow><mi>", "<mfrac>" * 3 + "</mi>"])
def test_deeply_nested_mathml_does_not_inflate_the_latex(source):
    formula = "<mi>a</mi>" + source * 20_000

    assert len(latex_from_mathml(formula)) < 1_000_000
