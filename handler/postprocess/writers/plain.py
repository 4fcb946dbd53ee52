"""Plain text writer: the page's text without markup."""

from __future__ import annotations

import re
from collections.abc import Iterable

from handler.postprocess.html.markup import Element, Node
from handler.postprocess.html.structure import (
    code_text_of,
    collapse_white_space,
    form_field_text,
    grid_of,
    latex_of,
    list_items_of,
    split_into_blocks,
)

__all__ = ["text_from"]


def text_from(nodes: Iterable[Node]) -> str:
    """Return sanitised HTML as plain text, without a line break at the end.

    Blocks are separated by blank lines, and cells by tabs. The further columns and rows
    that a cell spans are empty. Formulas are LaTeX without delimiters. Block quotes are
    indented, and pictures and their descriptions are left out.
    """
    return "\n\n".join(_write_blocks(nodes))


def _write_blocks(nodes: Iterable[Node]) -> list[str]:
    blocks: list[str] = []
    for portion in split_into_blocks(nodes):
        if isinstance(portion, list):
            blocks.append(_strip_lines(_write_inline(portion)))
        else:
            blocks.extend(_write_block(portion))
    return [block for block in blocks if block]


def _write_block(element: Element) -> list[str]:
    match element.tag:
        case "math" | "chem":
            return [latex_of(element)]
        case "pre":
            return [code_text_of(element.children).strip("\n")]
        case "ul" | "ol":
            return [_write_list(element)]
        case "table":
            return _write_table(element)
        case "blockquote":
            return [_indent(block) for block in _write_blocks(element.children)]
        case "hr":
            return []
        case _:
            return _write_blocks(element.children)


def _write_list(element: Element) -> str:
    lines = []
    for item in list_items_of(element):
        marker = "- " if item.number is None else f"{item.label}. "
        text = "\n".join(_write_blocks(item.children))
        lines.append(marker + text.replace("\n", "\n" + " " * len(marker)))
    return "\n".join(lines)


def _indent(block: str) -> str:
    return re.sub(r"^(?=.)", "    ", block, flags=re.MULTILINE)


def _write_table(table: Element) -> list[str]:
    rows = ["\t".join(map(_write_cell, row)) for row in grid_of(table)]
    # Captions, and content between the rows of a malformed table.
    rest = [node for node in table.children if not _is_row(node)]
    return [*_write_blocks(rest), "\n".join(rows)]


def _is_row(node: Node) -> bool:
    return isinstance(node, Element) and node.tag in ("tr", "thead", "tbody")


def _write_cell(cell: Element | None) -> str:
    if cell is None:
        return ""
    return collapse_white_space(" ".join(_write_blocks(cell.children))).strip()


def _write_inline(nodes: Iterable[Node]) -> str:
    return "".join(map(_write_node, nodes))


def _write_node(node: Node) -> str:
    if isinstance(node, str):
        return collapse_white_space(node)
    match node.tag:
        case "math" | "chem":
            return latex_of(node)
        case "br":
            return "\n"
        case "input":
            return form_field_text(node)
        case "img":
            return " "
        case "rt":
            reading = _write_inline(node.children)
            return f"({reading})" if reading.strip() else reading
        case _:
            return _write_inline(node.children)


def _strip_lines(text: str) -> str:
    lines = [collapse_white_space(line).strip() for line in text.split("\n")]
    return "\n".join(lines).strip("\n")
