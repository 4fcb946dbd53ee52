"""Translation of MathML to LaTeX.

The prompts ask for LaTeX in `<math>`, but models sometimes write MathML. The common
elements of presentation MathML are translated; of other elements the text is kept.
Parsing takes linear time and never raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["is_mathml", "latex_from_mathml"]

_ELEMENTS = (
    "semantics annotation annotation-xml maction menclose merror mfenced mfrac mi "
    "mmultiscripts mn mo mover mpadded mphantom mroot mrow ms mspace msqrt mstyle msub "
    "msubsup msup mtable mtd mtext mtr munder munderover mlabeledtr"
)
_NAMES = "|".join(sorted(_ELEMENTS.split(), key=len, reverse=True))
_TAG = re.compile(
    rf"<(?P<close>/?)(?:m:|mml:)?(?P<name>{_NAMES})(?=[\s/>])(?P<attrs>[^<>]*+)>",
    re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"([a-z]+)\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)')", re.IGNORECASE)
_MAX_DEPTH = 60
"""Elements nested deeper are reduced to their content."""


def is_mathml(formula: str) -> bool:
    """Return True if a formula contains a MathML element with an end tag."""
    names = set()
    for match in _TAG.finditer(formula):
        if not match["close"]:
            names.add(match["name"].lower())
        elif match["name"].lower() in names:
            return True
    return False


def latex_from_mathml(formula: str) -> str:
    """Return the MathML in a `<math>` element as LaTeX.

    The TeX of an annotation is used if there is one. White space is collapsed.
    """
    return " ".join(_write_children(_parse(formula)).split())


@dataclass(slots=True)
class _MathElement:
    tag: str
    attrs: dict[str, str] = field(default_factory=dict)
    children: list[_MathElement | str] = field(default_factory=list)


def _parse(formula: str) -> _MathElement:
    root = _MathElement("mrow")
    open_elements = [root]
    position = 0
    for match in _TAG.finditer(formula):
        text = formula[position : match.start()]
        if text.strip():
            open_elements[-1].children.append(text)
        position = match.end()
        tag = match["name"].lower()
        if match["close"]:
            _close_element(open_elements, tag)
            continue
        attrs = {
            name.lower(): double or single
            for name, double, single in _ATTRIBUTE.findall(match["attrs"])
        }
        node = _MathElement(tag, attrs)
        if len(open_elements) <= _MAX_DEPTH:
            open_elements[-1].children.append(node)
            if not match["attrs"].endswith("/"):
                open_elements.append(node)
    if formula[position:].strip():
        open_elements[-1].children.append(formula[position:])
    return root


def _close_element(open_elements: list[_MathElement], tag: str) -> None:
    for index in range(len(open_elements) - 1, 0, -1):
        if open_elements[index].tag == tag:
            del open_elements[index:]
            return


def _write_node(node: _MathElement | str) -> str:
    if isinstance(node, str):
        return _escape(node)
    write = _WRITERS.get(node.tag)
    if write is not None:
        parts = [_write_node(c) for c in node.children if not _is_blank(c)]
        return write(parts)
    match node.tag:
        case "mi":
            return _write_identifier(_text_of(node))
        case "mtext" | "ms":
            text = _text_of(node)
            return rf"\text{{{_escape(text)}}}" if text.strip() else r"\ "
        case "mspace":
            return r"\ "
        case "mo":
            return _write_operator(_text_of(node))
        case "mfenced":
            return _write_fenced(node)
        case "semantics":
            return _write_semantics(node)
        case "annotation" | "annotation-xml":
            return ""
    return _write_children(node)


def _write_children(node: _MathElement) -> str:
    return " ".join(filter(None, map(_write_node, node.children)))


def _text_of(node: _MathElement) -> str:
    return "".join(c if isinstance(c, str) else _text_of(c) for c in node.children)


def _is_blank(node: _MathElement | str) -> bool:
    return isinstance(node, str) and not node.strip()


_SPECIAL = {
    **{char: "\\" + char for char in "#$%&_{}"},
    "\\": r"\backslash ",
    "^": r"\wedge ",
    "~": r"\sim ",
    "\u2212": "-",
    "\u00a0": r"\ ",
}
# Invisible operators of MathML: function application, times, separator, plus.
_INVISIBLE = dict.fromkeys(range(0x2061, 0x2065), "")
_ESCAPES = str.maketrans(_SPECIAL) | _INVISIBLE


def _escape(text: str) -> str:
    return text.translate(_ESCAPES)


_FUNCTIONS = frozenset(
    (
        *("arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "coth", "csc"),
        *("deg", "det", "dim", "exp", "gcd", "inf", "ker", "lim", "ln", "log", "max"),
        *("min", "sec", "sin", "sinh", "sup", "tan", "tanh"),
    )
)


def _write_identifier(text: str) -> str:
    text = text.strip()
    if text in _FUNCTIONS:
        return "\\" + text
    escaped = _escape(text)
    return rf"\mathrm{{{escaped}}}" if len(text) > 1 and text.isalpha() else escaped


def _write_operator(text: str) -> str:
    text = text.strip()
    return "\\" + text if text in _FUNCTIONS else _escape(text)


def _write_fenced(node: _MathElement) -> str:
    separators = node.attrs.get("separators", ",").replace(" ", "")
    latex = ""
    parts = [_write_node(c) for c in node.children if not _is_blank(c)]
    for index, part in enumerate(parts):
        if index and separators:
            latex += _escape(separators[min(index, len(separators)) - 1]) + " "
        latex += part
    opening = _delimiter_latex(node.attrs.get("open", "("))
    closing = _delimiter_latex(node.attrs.get("close", ")"))
    return rf"\left{opening} {latex} \right{closing}"


def _delimiter_latex(value: str) -> str:
    """Return the sign after `\\left` or `\\right`; a dot for an unknown sign."""
    sign = value.strip()
    if sign in ("{", "}"):
        return "\\" + sign
    return sign if len(sign) == 1 and sign in "()[]|/<>" else "."


_TEX = re.compile(r"\b(?:la)?tex\b", re.IGNORECASE)


def _write_semantics(node: _MathElement) -> str:
    for child in node.children:
        if (
            isinstance(child, _MathElement)
            and child.tag == "annotation"
            and _TEX.search(child.attrs.get("encoding", ""))
            and _text_of(child).strip()
        ):
            return _text_of(child).strip()
    return _write_children(node)


_ACCENTS = {
    "^": r"\hat",
    "\u02c6": r"\hat",
    "~": r"\tilde",
    "\u02dc": r"\tilde",
    "¯": r"\bar",
    "‾": r"\overline",
    "→": r"\vec",
    "⃗": r"\vec",
    "˙": r"\dot",
    "¨": r"\ddot",
    "⏞": r"\overbrace",
}
_ACCENTS |= {_escape(sign): name for sign, name in _ACCENTS.items()}
_LIMITS = frozenset("∑∏∐\u22c3⋂∫∬∮\u22c1⋀⨁⨂") | {
    r"\lim",
    r"\max",
    r"\min",
    r"\sup",
    r"\inf",
}


def _split_parts(parts: list[str], num_parts: int) -> tuple[list[str], str]:
    """Return the first `num_parts` parts and the rest.

    Missing parts are empty strings. The rest is one string with a space before each
    part that is not empty.
    """
    padded = [*parts, *[""] * num_parts]
    return padded[:num_parts], "".join(f" {p}" for p in parts[num_parts:] if p)


def _write_fraction(parts: list[str]) -> str:
    (above, below), rest = _split_parts(parts, 2)
    return rf"\frac{{{above}}}{{{below}}}{rest}"


def _write_root(parts: list[str]) -> str:
    (base, index), rest = _split_parts(parts, 2)
    return rf"\sqrt[{index}]{{{base}}}{rest}"


def _write_square_root(parts: list[str]) -> str:
    return rf"\sqrt{{{' '.join(parts)}}}"


def _write_sub(parts: list[str]) -> str:
    (base, below), rest = _split_parts(parts, 2)
    return f"{_group_base(base)}_{{{below}}}{rest}"


def _write_sup(parts: list[str]) -> str:
    (base, above), rest = _split_parts(parts, 2)
    return f"{_group_base(base)}^{{{above}}}{rest}"


def _write_sub_sup(parts: list[str]) -> str:
    (base, below, above), rest = _split_parts(parts, 3)
    return f"{_group_base(base)}_{{{below}}}^{{{above}}}{rest}"


def _group_base(base: str) -> str:
    return base if re.fullmatch(r"\\?\w+|\W", base) else f"{{{base}}}"


def _write_over(parts: list[str]) -> str:
    (base, above), rest = _split_parts(parts, 2)
    if above in _ACCENTS:
        return rf"{_ACCENTS[above]}{{{base}}}{rest}"
    if base in _LIMITS:
        return f"{base}^{{{above}}}{rest}"
    return rf"\overset{{{above}}}{{{base}}}{rest}"


def _write_under(parts: list[str]) -> str:
    (base, below), rest = _split_parts(parts, 2)
    if base in _LIMITS:
        return f"{base}_{{{below}}}{rest}"
    return rf"\underset{{{below}}}{{{base}}}{rest}"


def _write_under_over(parts: list[str]) -> str:
    (base, below, above), rest = _split_parts(parts, 3)
    if base in _LIMITS:
        return f"{base}_{{{below}}}^{{{above}}}{rest}"
    return _write_over([_write_under([base, below]), above]) + rest


def _write_table(rows: list[str]) -> str:
    lines = r" \\ ".join(rows)
    return rf"\begin{{matrix}} {lines} \end{{matrix}}"


_WRITERS: dict[str, Callable[[list[str]], str]] = {
    "mfrac": _write_fraction,
    "mroot": _write_root,
    "msqrt": _write_square_root,
    "msub": _write_sub,
    "msup": _write_sup,
    "msubsup": _write_sub_sup,
    "mover": _write_over,
    "munder": _write_under,
    "munderover": _write_under_over,
    "mtable": _write_table,
    "mtr": " & ".join,
}
