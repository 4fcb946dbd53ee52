"""What every writer of text must know of HTML: blocks, runs, rows, items, marks."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from handler.postprocess.markup import Element, Node, text_of
from handler.postprocess.vocabulary import BLOCK_TAGS, LITERAL_TAGS

__all__ = [
    "Item",
    "code_of",
    "collapsed",
    "grid_of",
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
    """One entry of a list; `number` and `type` are None where the list has none."""

    number: int | None
    children: list[Node]
    type: str | None = None

    @property
    def label(self) -> str:
        """The number as the page shows it: `4`, `d`, `IV`; nothing in a `ul`."""
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
    """Return `a` to `z`, then `aa`; digits for what has no letter."""
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
    """Return Roman numerals from 1 to 3,999; digits beyond."""
    if not 1 <= number <= 3_999:
        return str(number)
    numerals = ""
    for value, numeral in _ROMAN:
        count, number = divmod(number, value)
        numerals += count * numeral
    return numerals


def items_of(element: Element) -> list[Item]:
    """The entries of a `ul` or `ol`; what is in none becomes one, or part of one.

    A list directly inside a list, which is how many pages nest them, belongs to
    the entry before it.
    """
    number, step = _numbering(element)
    list_type = element.attrs.get("type") if element.tag == "ol" else None
    items: list[Item] = []
    for node in element.children:
        if _is_blank(node):
            continue
        if isinstance(node, Element) and node.tag == "li":
            if number is not None:
                number = _integer(node.attrs.get("value"), number)
            items.append(Item(number, node.children, list_type))
        elif items and isinstance(node, Element) and node.tag in ("ul", "ol"):
            children = [*items[-1].children, node]
            items[-1] = Item(items[-1].number, children, list_type)
            continue
        else:
            items.append(Item(number, [node], list_type))
        if number is not None:
            number += step
    return items


def _numbering(element: Element) -> tuple[int | None, int]:
    """Return the first number of a list, and by how much numbers grow."""
    if element.tag != "ol":
        return None, 0
    is_reversed = "reversed" in element.attrs
    num_items = sum(
        isinstance(node, Element) and node.tag == "li" for node in element.children
    )
    first = _integer(element.attrs.get("start"), num_items if is_reversed else 1)
    return first, -1 if is_reversed else 1


def grid_of(table: Element) -> list[list[Element | None]]:
    """Return the cells of a table in their columns, row by row.

    None stands for a column that a cell to the left or above spans. Spans are ignored
    if they make the table several times as large as its cells.
    """
    rows = rows_of(table)
    num_columns = max(map(len, rows), default=0)
    num_spare = 3 * sum(map(len, rows)) + 100
    grid: list[list[Element | None]] = []
    # Rows that each column is still spanned for.
    spanned: dict[int, int] = {}
    for row in rows:
        line: list[Element | None] = []
        below: dict[int, int] = {}
        for cell in row:
            _skip(line, spanned)
            width = min(max(_integer(cell.attrs.get("colspan"), 1), 1), num_columns)
            height = _integer(cell.attrs.get("rowspan"), 1)
            for column in range(len(line), len(line) + width):
                # 0 is to the end of the table.
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


def _skip(line: list[Element | None], spanned: dict[int, int]) -> None:
    """Leave out the columns that cells of the rows above span."""
    while len(line) in spanned:
        line.append(None)


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


_COMMENT = re.compile(r"(?<!\\)((?:\\\\)*+)%(?=[^\n]*+\n)")
_NEWLINES = re.compile(r"[ \t\r\f]*+\n\s*+")


def latex_of(element: Element, *, is_one_line: bool = False) -> str:
    """Return the LaTeX in a `math` or `chem` element, without delimiters of its own.

    Line breaks are spaces to LaTeX, except after a comment, which would otherwise
    hide the rest of the formula. Where everything must be on one line, the comment
    is shown.
    """
    text = text_of(element.children).strip()
    if element.tag == "math" and "%" in text and "\n" in text:
        text = _NEWLINES.sub("\n", text)
        if is_one_line:
            text = _COMMENT.sub(r"\1\\%", text)
        else:
            return _undelimited(_with_comments(text))
    return _undelimited(collapsed(text))


def _with_comments(text: str) -> str:
    """Return LaTeX with a line break after each comment."""
    lines = []
    for line in text.split("\n"):
        is_open = _COMMENT.search(line + "\n") is not None
        lines.append(collapsed(line) + ("\n" if is_open else " "))
    return "".join(lines).strip()


def _undelimited(text: str) -> str:
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
    """Return all that is written in a listing, with its line breaks."""
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
    if written is None or not re.fullmatch(r"-?\d{1,6}", written, re.ASCII):
        return default
    return min(int(written), _MAX_ITEM_NUMBER)
