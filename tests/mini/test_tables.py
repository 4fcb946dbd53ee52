"""Grids of tables and their comparison with the truth."""

from __future__ import annotations

import pytest

from handler.schema import Block
from mini.tables import count_wrong_cells, find_tables, has_same_shape, match_tables


def find_grid(html: str) -> tuple[tuple[str, ...], ...]:
    [grid] = find_tables([Block("Table", None, f"<table>{html}</table>")])
    return grid


GRID = (("Ship", "Crew"), ("Vesta", "14"))


def test_cells_are_read_row_by_row():
    rows = "<tr><th>Ship</th><th>Crew</th></tr><tr><td>Vesta</td><td>14</td></tr>"

    assert find_grid(rows) == GRID


@pytest.mark.parametrize(
    ("rows", "grid"),
    [
        ('<tr><td colspan="2">a</td><td>b</td></tr>', (("a", "", "b"),)),
        ('<tr><td>a</td><td colspan="2">b</td></tr>', (("a", "b", ""),)),
        (
            '<tr><td rowspan="2">a</td><td>b</td></tr><tr><td>c</td></tr>',
            (("a", "b"), ("", "c")),
        ),
        (
            '<tr><td>a</td><td rowspan="2">b</td></tr><tr><td>c</td></tr>',
            (("a", "b"), ("c", "")),
        ),
    ],
)
def test_spanned_places_are_empty(rows, grid):
    assert find_grid(rows) == grid


@pytest.mark.parametrize(
    "other", [None, GRID[:1], (*GRID, ("x", "y")), (GRID[0], ("Vesta 14",))]
)
def test_other_numbers_of_cells_are_another_shape(other):
    assert not has_same_shape(GRID, other)


@pytest.mark.parametrize(
    ("other", "num_wrong"),
    [
        (GRID, 0),
        ((("Ship", " Crew "), ("Vesta", "14")), 0),
        ((("Ship", "Crew"), ("Vesta", "41")), 1),
        ((("Ship", "Crew"), ("Vesta 14",)), 2),
        ((*GRID, ("more", "cells")), 2),
        (GRID[:1], 2),
        (None, 4),
    ],
)
def test_wrong_missing_and_added_cells_are_counted(other, num_wrong):
    assert count_wrong_cells(GRID, other) == num_wrong


def test_tables_are_matched_by_their_text():
    other = (("Month", "Rain"), ("May", "61"))

    assert match_tables([GRID, other], [other, GRID]) == [GRID, other]


def test_a_table_without_a_match_is_none():
    similar = (("Ship", "Crew"), ("Vesta", "15"))

    assert match_tables([GRID, GRID], [similar]) == [similar, None]
