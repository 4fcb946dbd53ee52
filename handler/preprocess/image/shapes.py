"""Number the connected shapes of a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["number_shapes"]

_MAX_ROUNDS = 30


def number_shapes(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return for each true pixel of a mask, row by row, the number of its shape.

    A shape consists of pixels that touch at their sides. Runs of pixels in rows and
    in columns take turns to adopt the lowest number in them. A shape with more turns
    than rounds, such as a maze, stays divided.
    """
    rows, columns = _runs(mask), _runs(mask.T)
    # Pixels are in the order of rows; `by_column` puts them into that of columns.
    order = np.empty(mask.shape, np.intp)
    order[mask] = np.arange(len(rows))
    by_column = order.T[mask.T]
    row_starts, column_starts = _starts(rows), _starts(columns)
    numbers = np.asarray(rows)
    for _ in range(_MAX_ROUNDS):
        if not len(numbers):
            break
        lowest = np.minimum.reduceat(numbers[by_column], column_starts)
        across = np.empty_like(numbers)
        across[by_column] = lowest[columns]
        joined = np.minimum.reduceat(across, row_starts)[rows]
        if np.array_equal(joined, numbers):
            break
        numbers = joined
    return numbers


def _runs(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return for each true pixel the number of its run of pixels in a row."""
    starts = mask.copy()
    starts[:, 1:] &= ~mask[:, :-1]
    numbers: NDArray[np.intp] = np.cumsum(starts).reshape(mask.shape)[mask] - 1
    return numbers


def _starts(runs: NDArray[np.intp]) -> NDArray[Any]:
    """Return where each run begins among the pixels."""
    return np.flatnonzero(np.diff(runs, prepend=-1))
