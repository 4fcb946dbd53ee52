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
    """Return the content of a `<math>` element as LaTeX.

    TeX in an annotation is returned unchanged.
    """
    return " ".join(_row(_parse(formula)).split())


@dataclass(slots=True)
class _Node:
    tag: str
    attrs: dict[str, str] = field(default_factory=dict)
    children: list[_Node | str] = field(default_factory=list)


def _parse(formula: str) -> _Node:
    root = _Node("mrow")
    opened = [root]
    position = 0
    for match in _TAG.finditer(formula):
        text = formula[position : match.start()]
        if text.strip():
            opened[-1].children.append(text)
        position = match.end()
        tag = match["name"].lower()
        if match["close"]:
            _close(opened, tag)
            continue
        attrs = {
            name.lower(): double or single
            for name, double, single in _ATTRIBUTE.findall(match["attrs"])
        }
        node = _Node(tag, attrs)
        if len(opened) <= _MAX_DEPTH:
            opened[-1].children.append(node)
            if not match["attrs"].endswith("/"):
                opened.append(node)
    if formula[position:].strip():
        opened[-1].children.append(formula[position:])
    return root


def _close(opened: list[_Node], tag: str) -> None:
    for index in range(len(opened) - 1, 0, -1):
        if opened[index].tag == tag:
            del opened[index:]
            return


def _write_node(node: _Node | str) -> str:
    if isinstance(node, str):
        return _escaped(node)
    write = _WRITERS.get(node.tag)
    if write is not None:
        parts = [_write_node(c) for c in node.children if not _is_blank(c)]
        return write(parts)
    match node.tag:
        case "mi":
            return _identifier(_text(node))
        case "mtext" | "ms":
            text = _text(node)
            return rf"\text{{{_escaped(text)}}}" if text.strip() else r"\ "
        case "mspace":
            return r"\ "
        case "mo":
            return _operator(_text(node))
        case "mfenced":
            return _fenced(node)
        case "semantics":
            return _semantics(node)
        case "annotation" | "annotation-xml":
            return ""
    return _row(node)


def _row(node: _Node) -> str:
    return " ".join(filter(None, map(_write_node, node.children)))


def _text(node: _Node) -> str:
    return "".join(c if isinstance(c, str) else _text(c) for c in node.children)


def _is_blank(node: _Node | str) -> bool:
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


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


_FUNCTIONS = frozenset(
    (
        *("arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "coth", "csc"),
        *("deg", "det", "dim", "exp", "gcd", "inf", "ker", "lim", "ln", "log", "max"),
        *("min", "sec", "sin", "sinh", "sup", "tan", "tanh"),
    )
)


def _identifier(text: str) -> str:
    text = text.strip()
    if text in _FUNCTIONS:
        return "\\" + text
    escaped = _escaped(text)
    return rf"\mathrm{{{escaped}}}" if len(text) > 1 and text.isalpha() else escaped


def _operator(text: str) -> str:
    text = text.strip()
    return "\\" + text if text in _FUNCTIONS else _escaped(text)


def _fenced(node: _Node) -> str:
    separators = node.attrs.get("separators", ",").replace(" ", "")
    written = ""
    parts = [_write_node(c) for c in node.children if not _is_blank(c)]
    for index, part in enumerate(parts):
        if index and separators:
            written += _escaped(separators[min(index, len(separators)) - 1]) + " "
        written += part
    opening = _delimiter(node.attrs.get("open", "("))
    closing = _delimiter(node.attrs.get("close", ")"))
    return rf"\left{opening} {written} \right{closing}"


def _delimiter(written: str) -> str:
    sign = written.strip()
    if sign in ("{", "}"):
        return "\\" + sign
    return sign if len(sign) == 1 and sign in "()[]|/<>" else "."


_TEX = re.compile(r"\b(?:la)?tex\b", re.IGNORECASE)


def _semantics(node: _Node) -> str:
    for child in node.children:
        if (
            isinstance(child, _Node)
            and child.tag == "annotation"
            and _TEX.search(child.attrs.get("encoding", ""))
            and _text(child).strip()
        ):
            return _text(child).strip()
    return _row(node)


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
_ACCENTS |= {_escaped(sign): name for sign, name in _ACCENTS.items()}
_LIMITS = frozenset("∑∏∐\u22c3⋂∫∬∮\u22c1⋀⨁⨂") | {
    r"\lim",
    r"\max",
    r"\min",
    r"\sup",
    r"\inf",
}


def _split_parts(parts: list[str], num_parts: int) -> tuple[list[str], str]:
    """Return the first `num_parts` parts, padded, and the others joined by spaces."""
    padded = [*parts, *[""] * num_parts]
    return padded[:num_parts], "".join(f" {p}" for p in parts[num_parts:] if p)


def _fraction(parts: list[str]) -> str:
    (above, below), rest = _split_parts(parts, 2)
    return rf"\frac{{{above}}}{{{below}}}{rest}"


def _root(parts: list[str]) -> str:
    (base, index), rest = _split_parts(parts, 2)
    return rf"\sqrt[{index}]{{{base}}}{rest}"


def _square_root(parts: list[str]) -> str:
    return rf"\sqrt{{{' '.join(parts)}}}"


def _sub(parts: list[str]) -> str:
    (base, below), rest = _split_parts(parts, 2)
    return f"{_base(base)}_{{{below}}}{rest}"


def _sup(parts: list[str]) -> str:
    (base, above), rest = _split_parts(parts, 2)
    return f"{_base(base)}^{{{above}}}{rest}"


def _sub_sup(parts: list[str]) -> str:
    (base, below, above), rest = _split_parts(parts, 3)
    return f"{_base(base)}_{{{below}}}^{{{above}}}{rest}"


def _base(base: str) -> str:
    return base if re.fullmatch(r"\\?\w+|\W", base) else f"{{{base}}}"


def _over(parts: list[str]) -> str:
    (base, above), rest = _split_parts(parts, 2)
    if above in _ACCENTS:
        return rf"{_ACCENTS[above]}{{{base}}}{rest}"
    if base in _LIMITS:
        return f"{base}^{{{above}}}{rest}"
    return rf"\overset{{{above}}}{{{base}}}{rest}"


def _under(parts: list[str]) -> str:
    (base, below), rest = _split_parts(parts, 2)
    if base in _LIMITS:
        return f"{base}_{{{below}}}{rest}"
    return rf"\underset{{{below}}}{{{base}}}{rest}"


def _under_over(parts: list[str]) -> str:
    (base, below, above), rest = _split_parts(parts, 3)
    if base in _LIMITS:
        return f"{base}_{{{below}}}^{{{above}}}{rest}"
    return _over([_under([base, below]), above]) + rest


def _table(rows: list[str]) -> str:
    lines = r" \\ ".join(rows)
    return rf"\begin{{matrix}} {lines} \end{{matrix}}"


_WRITERS: dict[str, Callable[[list[str]], str]] = {
    "mfrac": _fraction,
    "mroot": _root,
    "msqrt": _square_root,
    "msub": _sub,
    "msup": _sup,
    "msubsup": _sub_sup,
    "mover": _over,
    "munder": _under,
    "munderover": _under_over,
    "mtable": _table,
    "mtr": " & ".join,
}
