"""HTML structure that the Markdown and text writers share: blocks, lists, tables."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from handler.postprocess.html.markup import Element, Node, text_of
from handler.postprocess.html.vocabulary import BLOCK_TAGS, LITERAL_TAGS

__all__ = [
    "ListItem",
    "code_of",
    "collapsed",
    "grid_of",
    "input_mark",
    "is_block",
    "items_of",
    "latex_of",
    "rows_of",
    "split_into_blocks",
]

_SPACES = re.compile(r"[ \t\r\n\f]+")
_MAX_ITEM_NUMBER = 999_999
_DELIMITERS = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))


def collapsed(text: str) -> str:
    """Return text with white space collapsed as in HTML; no-break spaces are kept."""
    return _SPACES.sub(" ", text)


def is_block(node: Node) -> bool:
    """Return True if a node is shown on lines of its own or contains such a node."""
    if isinstance(node, str):
        return False
    if node.tag in LITERAL_TAGS:
        return node.attrs.get("display") == "block"
    return node.tag in BLOCK_TAGS or any(map(is_block, node.children))


def split_into_blocks(nodes: Iterable[Node]) -> Iterator[Element | list[Node]]:
    """Yield block elements alone, and the inline nodes between them as lists."""
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
class ListItem:
    """Entry of a list; `number` and `type` are None if the list has none."""

    number: int | None
    children: list[Node]
    type: str | None = None

    @property
    def label(self) -> str:
        """The number as shown on the page: `4`, `d`, `IV`; empty in a `ul`."""
        if self.number is None:
            return ""
        match self.type:
            case "a" | "A":
                return _cased(_letters(self.number), self.type)
            case "i" | "I":
                return _cased(_roman(self.number), self.type)
        return str(self.number)


def _cased(label: str, list_type: str) -> str:
    return label.upper() if list_type.isupper() else label


def _letters(number: int) -> str:
    """Return `a` to `z`, then `aa`; digits for numbers below 1."""
    if number < 1:
        return str(number)
    letters = ""
    while number:
        number, index = divmod(number - 1, 26)
        letters = string.ascii_lowercase[index] + letters
    return letters


_ROMAN = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc")),
    *((50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)


def _roman(number: int) -> str:
    """Return Roman numerals from 1 to 3,999; digits for other numbers."""
    if not 1 <= number <= 3_999:
        return str(number)
    numerals = ""
    for value, numeral in _ROMAN:
        count, number = divmod(number, value)
        numerals += count * numeral
    return numerals


def items_of(element: Element) -> list[ListItem]:
    """Return the entries of a `ul` or `ol`.

    Content outside `li` becomes an entry. A list directly inside a list, as models
    often write nested lists, becomes part of the entry before it.
    """
    number, step = _numbering(element)
    list_type = element.attrs.get("type") if element.tag == "ol" else None
    items: list[ListItem] = []
    for node in element.children:
        if _is_blank(node):
            continue
        if isinstance(node, Element) and node.tag == "li":
            if number is not None:
                number = _parse_integer(node.attrs.get("value"), number)
            items.append(ListItem(number, node.children, list_type))
        elif items and isinstance(node, Element) and node.tag in ("ul", "ol"):
            children = [*items[-1].children, node]
            items[-1] = ListItem(items[-1].number, children, list_type)
            continue
        else:
            items.append(ListItem(number, [node], list_type))
        if number is not None:
            number += step
    return items


def _numbering(element: Element) -> tuple[int | None, int]:
    """Return the first number of a list, None for a `ul`, and the step to the next."""
    if element.tag != "ol":
        return None, 0
    is_reversed = "reversed" in element.attrs
    num_items = sum(
        isinstance(node, Element) and node.tag == "li" for node in element.children
    )
    first = _parse_integer(element.attrs.get("start"), num_items if is_reversed else 1)
    return first, -1 if is_reversed else 1


def grid_of(table: Element) -> list[list[Element | None]]:
    """Return the cells of a table in their columns, row by row.

    None fills columns that a cell to the left or above spans. Spans are ignored if they
    would make the grid several times as large as the number of cells.
    """
    rows = rows_of(table)
    num_columns = max(map(len, rows), default=0)
    num_spare = 3 * sum(map(len, rows)) + 100
    grid: list[list[Element | None]] = []
    # Number of rows for which each column is still spanned.
    spanned: dict[int, int] = {}
    for row in rows:
        line: list[Element | None] = []
        below: dict[int, int] = {}
        for cell in row:
            _skip_spanned(line, spanned)
            width = min(
                max(_parse_integer(cell.attrs.get("colspan"), 1), 1), num_columns
            )
            height = _parse_integer(cell.attrs.get("rowspan"), 1)
            for column in range(len(line), len(line) + width):
                # A rowspan of 0 reaches to the end of the table.
                below[column] = height - 1 if height else len(rows)
            line += [cell, *[None] * (width - 1)]
        num_spare -= len(line) - len(row)
        if num_spare < 0:
            return [list(row) for row in rows]
        left = {column: num_rows - 1 for column, num_rows in spanned.items()}
        spanned = {c: n for c, n in (left | below).items() if n > 0}
        while line and line[-1] is None:
            line.pop()
        grid.append(line)
    return grid


def _skip_spanned(line: list[Element | None], spanned: dict[int, int]) -> None:
    """Append None for the columns that cells of the rows above span."""
    while len(line) in spanned:
        line.append(None)


def rows_of(table: Element) -> list[list[Element]]:
    """Return the cells of a table, row by row."""
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


_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*+)%(?=[^\n]*+\n)")
_NEWLINES = re.compile(r"[ \t\r\f]*+\n\s*+")


def latex_of(element: Element, *, is_one_line: bool = False) -> str:
    """Return the text of a `math` or `chem` element without its LaTeX delimiters.

    Line breaks become spaces, except after a LaTeX comment, which would otherwise hide
    the rest of the formula. `is_one_line` escapes the `%` instead, so that the comment
    is shown.
    """
    text = text_of(element.children).strip()
    if element.tag == "math" and "%" in text and "\n" in text:
        text = _NEWLINES.sub("\n", text)
        if is_one_line:
            text = _COMMENT.sub(r"\1\\%", text)
        else:
            return _strip_delimiters(_break_after_comments(text))
    return _strip_delimiters(collapsed(text))


def _break_after_comments(text: str) -> str:
    """Return LaTeX with a line break after each comment."""
    lines = []
    for line in text.split("\n"):
        is_open = _COMMENT.search(line + "\n") is not None
        lines.append(collapsed(line) + ("\n" if is_open else " "))
    return "".join(lines).strip()


def _strip_delimiters(text: str) -> str:
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


def code_of(nodes: Iterable[Node]) -> str:
    """Return the text of a listing with its line breaks."""
    return "".join(map(_code_piece, nodes))


def _code_piece(node: Node) -> str:
    if isinstance(node, str):
        return node
    match node.tag:
        case "br":
            return "\n"
        case "input":
            return input_mark(node)
        case "img":
            return " "
        case "math" | "chem":
            return latex_of(node)
    inner = code_of(node.children)
    if node.tag == "rt":
        return f"({inner})" if inner.strip() else inner
    return f"\n{inner}\n" if node.tag in BLOCK_TAGS else inner


def input_mark(element: Element) -> str:
    """Return a form field as text: `[x]`, `( )`, its value or `____`."""
    is_checked = "checked" in element.attrs
    match element.attrs.get("type"):
        case "checkbox":
            return "[x]" if is_checked else "[ ]"
        case "radio":
            return "(x)" if is_checked else "( )"
    return collapsed(element.attrs.get("value", "")).strip() or "____"


def _parse_integer(written: str | None, default: int) -> int:
    # The pattern bounds the digits: int() raises above 4,300 of them.
    if written is None or not re.fullmatch(r"-?\d{1,6}", written, re.ASCII):
        return default
    return min(int(written), _MAX_ITEM_NUMBER)
