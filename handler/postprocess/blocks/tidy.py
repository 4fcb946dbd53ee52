"""Rewriting of the model's HTML to the tags and attributes that replies have.

Content that a browser would draw is written out, so that every format has it: the
quotation marks of `<q>`, the selected option of a list, the numbering of a list.
Invisible content, such as the fallback for ruby text, is removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeGuard

from handler.postprocess.blocks.layout import parse_label
from handler.postprocess.html.markup import Element, Node, text_of
from handler.postprocess.html.mathml import is_mathml, latex_from_mathml
from handler.postprocess.html.structure import is_block_level
from handler.postprocess.html.vocabulary import ATTRIBUTES, GLOBAL_ATTRIBUTES

__all__ = [
    "add_quotation_marks",
    "drop_ruby_parentheses",
    "filter_attributes",
    "mark_options",
    "rewrite_math",
]

_SMALL_NUMBER = re.compile(r"\d{1,4}", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,6}", re.ASCII)
_VALUE_PATTERNS = {
    "align": re.compile(r"left|right|center|justify"),
    "border": _SMALL_NUMBER,
    "checked": re.compile(""),
    "colspan": _SMALL_NUMBER,
    "dir": re.compile(r"ltr|rtl|auto"),
    "display": re.compile(r"block|inline"),
    "reversed": re.compile(""),
    "rowspan": _SMALL_NUMBER,
    "start": _NUMBER,
    "class": re.compile(r"[\w #+-]{1,200}", re.ASCII),
}
_VALUE_PATTERNS_OF_TAG = {
    "li": {"value": _NUMBER},
    "ol": {"type": re.compile(r"[1aAiI]")},
}
_INPUT_TYPES = frozenset({"checkbox", "radio", "text"})

# Styles that are equivalent to an attribute. All others are dropped.
_ATTRIBUTE_OF_STYLE = {
    "text-align": "align",
    "direction": "dir",
    "list-style": "type",
    "list-style-type": "type",
}
_STYLE_DECLARATION = re.compile(
    r"(?:^|;)\s*+([a-z-]+)\s*+:\s*+([a-z-]+)", re.IGNORECASE
)
_MAX_STYLE_CHARACTERS = 1_000
_LIST_TYPES = {
    "decimal": "1",
    "lower-alpha": "a",
    "lower-latin": "a",
    "upper-alpha": "A",
    "upper-latin": "A",
    "lower-roman": "i",
    "upper-roman": "I",
}


def filter_attributes(element: Element) -> dict[str, str]:
    """Return the attributes of an element that replies keep, if their values are valid.

    Styles become attributes, an `<input>` always has a type, and labels are parsed.
    """
    kept = GLOBAL_ATTRIBUTES | ATTRIBUTES.get(element.tag, frozenset())
    patterns = _VALUE_PATTERNS | _VALUE_PATTERNS_OF_TAG.get(element.tag, {})
    attrs = {}
    for name, value in (_style_attributes(element) | element.attrs).items():
        if name in ("checked", "reversed"):
            value = ""
        elif name in ("align", "dir"):
            value = value.lower()
        value = value.strip()
        pattern = patterns.get(name)
        if name in kept and (pattern is None or pattern.fullmatch(value)):
            attrs[name] = value
    if element.tag == "input":
        input_type = attrs.get("type", "").lower()
        attrs["type"] = input_type if input_type in _INPUT_TYPES else "text"
    if "data-label" in attrs:
        attrs["data-label"] = parse_label(attrs["data-label"])
    return attrs


def _style_attributes(element: Element) -> dict[str, str]:
    """Return the attributes that are equivalent to an element's styles."""
    style = element.attrs.get("style", "")
    if not style or len(style) > _MAX_STYLE_CHARACTERS:
        return {}
    attributes = {}
    for name, value in _STYLE_DECLARATION.findall(style):
        attribute = _ATTRIBUTE_OF_STYLE.get(name.lower())
        if attribute == "type":
            value = _LIST_TYPES.get(value.lower(), "")
        if attribute is not None and (attribute != "type" or element.tag == "ol"):
            attributes[attribute] = value
    return attributes


_QUOTES = (("\u201c", "\u201d"), ("\u2018", "\u2019"))
_QUOTATION_MARKS = frozenset(
    (
        *("'", '"', "\u00ab", "\u00bb", "\u2039", "\u203a"),
        *map(chr, range(0x2018, 0x2020)),
        *map(chr, range(0x300C, 0x3010)),
    )
)


def add_quotation_marks(nodes: list[Node], depth: int) -> list[Node]:
    """Return the content of a `<q>` between the quotation marks that browsers draw.

    `depth` is the number of `<q>` around it. The nodes are returned unchanged if they
    begin with a quotation mark, have no content or contain a block.
    """
    text = text_of(nodes).strip()
    if text[:1] in _QUOTATION_MARKS or any(map(is_block_level, nodes)):
        return nodes
    if not text and not any(_is_tag(node, "input") for node in nodes):
        return nodes
    opening, closing = _QUOTES[depth % 2]
    return [opening, *nodes, closing]


def mark_options(select: Element) -> list[Node]:
    """Return the content of a `<select>` with its options replaced by their content.

    If one of several options is selected, each has a radio button or a check box before
    it, which is checked for a selected option.
    """
    options = [c for c in select.children if _is_tag(c, "option")]
    is_marked = len(options) > 1 and any("selected" in o.attrs for o in options)
    input_type = "checkbox" if "multiple" in select.attrs else "radio"
    nodes: list[Node] = [" "]
    for child in select.children:
        if not _is_tag(child, "option"):
            nodes.append(child)
            continue
        if is_marked:
            checked = {"checked": ""} if "selected" in child.attrs else {}
            nodes += [Element("input", {"type": input_type, **checked}), " "]
        nodes += [*child.children, " "]
    return nodes


def _is_tag(node: Node, tag: str) -> TypeGuard[Element]:
    return isinstance(node, Element) and node.tag == tag


_PARENTHESIS = re.compile(r"\W{0,2}")


def drop_ruby_parentheses(nodes: Iterable[Node]) -> list[Node]:
    """Return the nodes without the `<rp>` fallback parentheses of ruby text.

    An `<rp>` with other text is kept.
    """
    return [
        node
        for node in nodes
        if not (
            isinstance(node, Element)
            and node.tag == "rp"
            and _PARENTHESIS.fullmatch(text_of(node.children).strip())
        )
    ]


# Environments and commands that LaTeX allows only in displayed formulas.
_DISPLAY_ONLY = re.compile(
    r"\\begin\s*\{(?:align|alignat|eqnarray|equation|flalign|gather|multline)\*?\}"
    r"|\\tag\b"
)


def rewrite_math(element: Element) -> Element:
    """Return a `<math>` element whose content is LaTeX, also if it was MathML.

    It has `display="block"` if LaTeX allows the formula only in displayed mode.
    """
    attrs = filter_attributes(element)
    latex = text_of(element.children)
    if is_mathml(latex):
        latex = latex_from_mathml(latex)
    if _DISPLAY_ONLY.search(latex):
        attrs["display"] = "block"
    return Element("math", attrs, [latex] if latex else [])
