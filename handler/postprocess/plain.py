"""Write a page as plain text: what a person would type, without any markup."""

from __future__ import annotations

import re
from collections.abc import Iterable

from handler.postprocess.flow import (
    code_of,
    collapsed,
    grid_of,
    input_mark,
    items_of,
    latex_of,
    portions,
)
from handler.postprocess.markup import Element, Node

__all__ = ["text_from"]


def text_from(nodes: Iterable[Node]) -> str:
    """Blocks apart by blank lines, cells by tabs, LaTeX as it is.

    A cell that spans rows or columns leaves the others empty. Quotations are indented,
    and descriptions of pictures are left out.
    """
    return "\n\n".join(_blocks(nodes))


def _blocks(nodes: Iterable[Node]) -> list[str]:
    found: list[str] = []
    for portion in portions(nodes):
        if isinstance(portion, list):
            found.append(_lines(_inline(portion)))
        else:
            found.extend(_block(portion))
    return [block for block in found if block]


def _block(element: Element) -> list[str]:
    match element.tag:
        case "math" | "chem":
            return [latex_of(element)]
        case "pre":
            return [code_of(element.children).strip("\n")]
        case "ul" | "ol":
            return [_list(element)]
        case "table":
            return _table(element)
        case "blockquote":
            return [_indented(block) for block in _blocks(element.children)]
        case "hr":
            return []
        case _:
            return _blocks(element.children)


def _list(element: Element) -> str:
    lines = []
    for item in items_of(element):
        marker = "- " if item.number is None else f"{item.label}. "
        text = "\n".join(_blocks(item.children))
        lines.append(marker + text.replace("\n", "\n" + " " * len(marker)))
    return "\n".join(lines)


def _indented(block: str) -> str:
    return re.sub(r"^(?=.)", "    ", block, flags=re.MULTILINE)


def _table(table: Element) -> list[str]:
    rows = ["\t".join(map(_cell, row)) for row in grid_of(table)]
    # Captions, and what a broken table holds beside its rows.
    rest = [node for node in table.children if not _is_row(node)]
    return [*_blocks(rest), "\n".join(rows)]


def _is_row(node: Node) -> bool:
    return isinstance(node, Element) and node.tag in ("tr", "thead", "tbody")


def _cell(cell: Element | None) -> str:
    if cell is None:
        return ""
    return collapsed(" ".join(_blocks(cell.children))).strip()


def _inline(nodes: Iterable[Node]) -> str:
    return "".join(map(_piece, nodes))


def _piece(node: Node) -> str:
    if isinstance(node, str):
        return collapsed(node)
    match node.tag:
        case "math" | "chem":
            return latex_of(node)
        case "br":
            return "\n"
        case "input":
            return input_mark(node)
        case "img":
            return " "
        case "rt":
            reading = _inline(node.children)
            return f"({reading})" if reading.strip() else reading
        case _:
            return _inline(node.children)


def _lines(text: str) -> str:
    lines = [collapsed(line).strip() for line in text.split("\n")]
    return "\n".join(lines).strip("\n")
