"""Tables of a page: the grid of their cells, and its comparison with the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from rapidfuzz.distance import Levenshtein

from handler.postprocess.html.markup import Element, Node, parse, text_of
from handler.postprocess.html.structure import rows_of
from handler.schema import Block

__all__ = ["Grid", "count_wrong_cells", "find_tables", "has_same_shape", "match_tables"]

Grid = tuple[tuple[str, ...], ...]
"""Texts of the cells, row by row. A cell that spans columns or rows has its text in its
upper left place, and the other places are empty."""


def find_tables(blocks: Iterable[Block]) -> list[Grid]:
    """Return the grids of all tables of the blocks, in reading order."""
    return [
        _make_grid(table)
        for block in blocks
        for table in _iter_tables(parse(block.html, is_one_block=True).nodes)
    ]


def match_tables(
    true_tables: Sequence[Grid], tables: Sequence[Grid]
) -> list[Grid | None]:
    """Return the table with the most similar text for each true table, or None.

    No table is returned twice.
    """
    candidates = sorted(
        (
            (
                -Levenshtein.normalized_similarity(_join(true), _join(table)),
                index,
                other,
            )
            for index, true in enumerate(true_tables)
            for other, table in enumerate(tables)
        ),
    )
    matches: dict[int, int] = {}
    for _, index, other in candidates:
        if index not in matches and other not in matches.values():
            matches[index] = other
    return [
        tables[matches[index]] if index in matches else None
        for index in range(len(true_tables))
    ]


def has_same_shape(one: Grid, other: Grid | None) -> bool:
    """Return whether both tables have as many rows, and each row as many columns."""
    return other is not None and [*map(len, one)] == [*map(len, other)]


def count_wrong_cells(true: Grid, table: Grid | None) -> int:
    """Return how many places of the grid differ, including missing and added cells.

    Runs of white space count as one space.
    """
    return sum(
        true_cell is None or cell is None or true_cell.split() != cell.split()
        for true_row, row in zip_longest(true, table or (), fillvalue=())
        for true_cell, cell in zip_longest(true_row, row)
    )


def _iter_tables(nodes: Iterable[Node]) -> Iterator[Element]:
    for node in nodes:
        if isinstance(node, Element):
            if node.tag == "table":
                yield node
            else:
                yield from _iter_tables(node.children)


def _make_grid(table: Element) -> Grid:
    grid = []
    # Number of further rows that a cell above covers, by column.
    covered: dict[int, int] = {}
    for row in rows_of(table):
        line: list[str] = []
        below: dict[int, int] = {}
        for cell in row:
            while len(line) in covered:
                line.append("")
            width, height = _read_span(cell, "colspan"), _read_span(cell, "rowspan")
            below |= dict.fromkeys(range(len(line), len(line) + width), height - 1)
            line += [text_of(cell.children), *[""] * (width - 1)]
        while len(line) in covered:
            line.append("")
        rest = {column: num_rows - 1 for column, num_rows in covered.items()}
        covered = {c: n for c, n in (rest | below).items() if n > 0}
        grid.append(tuple(line))
    return tuple(grid)


def _read_span(cell: Element, name: str) -> int:
    value = cell.attrs.get(name, "1")
    # A limit keeps the grid small if the model writes a very long number.
    return min(100, int(value)) if value.isdecimal() and int(value) else 1


def _join(table: Grid) -> str:
    return "\n".join("\t".join(row) for row in table)
