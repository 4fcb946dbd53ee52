"""What every writer of text must know of HTML: blocks, runs, rows, items, marks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from handler.postprocess.markup import Element, Node, text_of
from handler.postprocess.vocabulary import BLOCK_TAGS, LITERAL_TAGS

__all__ = [
    "Item",
    "collapsed",
    "input_mark",
    "is_block",
    "items_of",
    "latex_of",
    "portions",
    "rows_of",
]

_SPACES = re.compile(r"[ \t\r\n\f]+")
_MAX_ITEM_NUMBER = 999_999
_DELIMITERS = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))


def collapsed(text: str) -> str:
    """White space as HTML shows it; a no-break space is not white space."""
    return _SPACES.sub(" ", text)


def is_block(node: Node) -> bool:
    """Whether a node stands on lines of its own, or holds something that does."""
    if isinstance(node, str):
        return False
    if node.tag in LITERAL_TAGS:
        return node.attrs.get("display") == "block"
    return node.tag in BLOCK_TAGS or any(map(is_block, node.children))


def portions(nodes: Iterable[Node]) -> Iterator[Element | list[Node]]:
    """Blocks by themselves, and what runs between them as lists."""
    run: list[Node] = []
    for node in nodes:
        if isinstance(node, Element) and is_block(node):
            if run:
                yield run
            yield node
            run = []
        else:
            run.append(node)
    if run:
        yield run


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a list; `number` is None where the list has none."""

    number: int | None
    children: list[Node]


def items_of(element: Element) -> list[Item]:
    """The entries of a `ul` or `ol`; what is in none becomes one, or part of one.

    A list directly inside a list, which is how many pages nest them, belongs to
    the entry before it.
    """
    number = _integer(element.attrs.get("start"), 1) if element.tag == "ol" else None
    items: list[Item] = []
    for node in element.children:
        if _is_blank(node):
            continue
        if isinstance(node, Element) and node.tag == "li":
            if number is not None:
                number = _integer(node.attrs.get("value"), number)
            items.append(Item(number, node.children))
        elif items and isinstance(node, Element) and node.tag in ("ul", "ol"):
            items[-1] = Item(items[-1].number, [*items[-1].children, node])
            continue
        else:
            items.append(Item(number, [node]))
        if number is not None:
            number += 1
    return items


def rows_of(table: Element) -> list[list[Element]]:
    """The cells of a table, row by row."""
    rows = []
    for node in table.children:
        if isinstance(node, str):
            continue
        if node.tag == "tr":
            rows.append([_as_cell(c) for c in node.children if not _is_blank(c)])
        elif node.tag in ("thead", "tbody"):
            rows.extend(rows_of(node))
    return rows


def _is_blank(node: Node) -> bool:
    return isinstance(node, str) and not node.strip()


def _as_cell(node: Node) -> Element:
    if isinstance(node, Element) and node.tag in ("td", "th"):
        return node
    return Element("td", {}, [node])


def latex_of(element: Element) -> str:
    """What is in a `math` or `chem`, on one line, without delimiters of its own."""
    text = collapsed(text_of(element.children)).strip()
    for opening, closing in _DELIMITERS:
        inner = text[len(opening) : len(text) - len(closing)]
        if (
            len(text) > len(opening) + len(closing)
            and text.startswith(opening)
            and text.endswith(closing)
            and opening not in inner
            and not inner.endswith("\\")
        ):
            return inner.strip()
    return text


def input_mark(element: Element) -> str:
    """A form field as a reader would draw it."""
    is_checked = "checked" in element.attrs
    match element.attrs.get("type"):
        case "checkbox":
            return "[x]" if is_checked else "[ ]"
        case "radio":
            return "(x)" if is_checked else "( )"
    return collapsed(element.attrs.get("value", "")).strip() or "____"


def _integer(written: str | None, default: int) -> int:
    # Not int() of anything: the model may write four thousand digits.
    if written is None or not re.fullmatch(r"\d{1,6}", written, re.ASCII):
        return default
    return min(int(written), _MAX_ITEM_NUMBER)
