"""Functions that read the structure of an HTML tree: blocks, lists, tables, formulas.

The writers of Markdown and plain text share them.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from handler.postprocess.html.markup import Element, Node, text_of
from handler.postprocess.html.vocabulary import BLOCK_TAGS, LITERAL_TAGS

__all__ = [
    "ListItem",
    "code_text_of",
    "collapse_white_space",
    "form_field_text",
    "grid_of",
    "is_block_level",
    "latex_of",
    "list_items_of",
    "rows_of",
    "split_into_blocks",
]

_WHITE_SPACE = re.compile(r"[ \t\r\n\f]+")
_MAX_ITEM_NUMBER = 999_999
_LATEX_DELIMITERS = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))


def collapse_white_space(text: str) -> str:
    """Return text with white space collapsed as in HTML; no-break spaces are kept."""
    return _WHITE_SPACE.sub(" ", text)


def is_block_level(node: Node) -> bool:
    """Return True if a node is shown on lines of its own or contains such a node."""
    if isinstance(node, str):
        return False
    if node.tag in LITERAL_TAGS:
        return node.attrs.get("display") == "block"
    return node.tag in BLOCK_TAGS or any(map(is_block_level, node.children))


def split_into_blocks(nodes: Iterable[Node]) -> Iterator[Element | list[Node]]:
    """Yield block elements alone, and the inline nodes between them as lists."""
    run: list[Node] = []
    for node in nodes:
        if isinstance(node, Element) and is_block_level(node):
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
    """Entry of a list.

    `number` is None in a `ul`. `type` is the list's attribute, such as `a`, or None.
    """

    number: int | None
    children: list[Node]
    type: str | None = None

    @property
    def label(self) -> str:
        """The number as a browser shows it: `4`, `d`, `IV`; empty in a `ul`."""
        if self.number is None:
            return ""
        match self.type:
            case "a" | "A":
                return _match_case(_to_letters(self.number), self.type)
            case "i" | "I":
                return _match_case(_to_roman_numerals(self.number), self.type)
        return str(self.number)


def _match_case(label: str, list_type: str) -> str:
    return label.upper() if list_type.isupper() else label


def _to_letters(number: int) -> str:
    """Return `a` for 1, `z` for 26, `aa` for 27; digits for numbers below 1."""
    if number < 1:
        return str(number)
    letters = ""
    while number:
        number, index = divmod(number - 1, 26)
        letters = string.ascii_lowercase[index] + letters
    return letters


_ROMAN_NUMERALS = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc")),
    *((50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)


def _to_roman_numerals(number: int) -> str:
    """Return Roman numerals from 1 to 3,999; digits for other numbers."""
    if not 1 <= number <= 3_999:
        return str(number)
    numerals = ""
    for value, numeral in _ROMAN_NUMERALS:
        count, number = divmod(number, value)
        numerals += count * numeral
    return numerals


def list_items_of(element: Element) -> list[ListItem]:
    """Return the entries of a `ul` or `ol`.

    Content outside `li` becomes an entry. A list that is directly inside a list, as
    models often write nested lists, becomes part of the entry before it.
    """
    number, step = _numbering_of(element)
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


def _numbering_of(element: Element) -> tuple[int | None, int]:
    """Return a list's first number and the step to the next; None and 0 for a `ul`."""
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

    None fills columns that a cell to the left or above spans; None at the end of a row
    is left out. All spans are ignored if they would make the grid several times as
    large as the number of cells.
    """
    rows = rows_of(table)
    num_columns = max(map(len, rows), default=0)
    num_spare_places = 3 * sum(map(len, rows)) + 100
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
        num_spare_places -= len(line) - len(row)
        if num_spare_places < 0:
            return [list(row) for row in rows]
        remaining = {column: num_rows - 1 for column, num_rows in spanned.items()}
        spanned = {c: n for c, n in (remaining | below).items() if n > 0}
        while line and line[-1] is None:
            line.pop()
        grid.append(line)
    return grid


def _skip_spanned(line: list[Element | None], spanned: dict[int, int]) -> None:
    """Append None to `line` until its next column is not spanned from above."""
    while len(line) in spanned:
        line.append(None)


def rows_of(table: Element) -> list[list[Element]]:
    """Return the cells of a table, row by row, without regard to spans.

    Content of a row outside cells becomes a cell.
    """
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


_LATEX_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*+)%(?=[^\n]*+\n)")
_NEWLINES = re.compile(r"[ \t\r\f]*+\n\s*+")


def latex_of(element: Element, *, is_one_line: bool = False) -> str:
    """Return the text of a `math` or `chem` element without its LaTeX delimiters.

    Line breaks become spaces, except after a LaTeX comment, which would otherwise hide
    the rest of the formula. `is_one_line` escapes the comment's `%` instead, so that
    the formula has no line break and the comment is shown.
    """
    text = text_of(element.children).strip()
    if element.tag == "math" and "%" in text and "\n" in text:
        text = _NEWLINES.sub("\n", text)
        if is_one_line:
            text = _LATEX_COMMENT.sub(r"\1\\%", text)
        else:
            return _strip_delimiters(_break_after_comments(text))
    return _strip_delimiters(collapse_white_space(text))


def _break_after_comments(text: str) -> str:
    """Return LaTeX with line breaks after comments only; others become spaces."""
    lines = []
    for line in text.split("\n"):
        has_comment = _LATEX_COMMENT.search(line + "\n") is not None
        lines.append(collapse_white_space(line) + ("\n" if has_comment else " "))
    return "".join(lines).strip()


def _strip_delimiters(text: str) -> str:
    for opening, closing in _LATEX_DELIMITERS:
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


def code_text_of(nodes: Iterable[Node]) -> str:
    """Return the text of a listing or of code, with its line breaks.

    Form fields are text such as `[x]`, formulas LaTeX, and images a space.
    """
    return "".join(map(_code_piece, nodes))


def _code_piece(node: Node) -> str:
    if isinstance(node, str):
        return node
    match node.tag:
        case "br":
            return "\n"
        case "input":
            return form_field_text(node)
        case "img":
            return " "
        case "math" | "chem":
            return latex_of(node)
    inner = code_text_of(node.children)
    if node.tag == "rt":
        return f"({inner})" if inner.strip() else inner
    return f"\n{inner}\n" if node.tag in BLOCK_TAGS else inner


def form_field_text(element: Element) -> str:
    """Return an `<input>` as text: `[x]`, `( )`, its value, or `____` without one."""
    is_checked = "checked" in element.attrs
    match element.attrs.get("type"):
        case "checkbox":
            return "[x]" if is_checked else "[ ]"
        case "radio":
            return "(x)" if is_checked else "( )"
    return collapse_white_space(element.attrs.get("value", "")).strip() or "____"


def _parse_integer(value: str | None, default: int) -> int:
    # The pattern bounds the digits: int() raises above 4,300 of them.
    if value is None or not re.fullmatch(r"-?\d{1,6}", value, re.ASCII):
        return default
    return min(int(value), _MAX_ITEM_NUMBER)
