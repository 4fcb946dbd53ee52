"""Labelling of the connected components of a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["label_shapes"]

_MAX_ROUNDS = 30


def label_shapes(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the number of the shape of each true pixel of a mask, row by row.

    A shape is a 4-connected component. In each round, runs of pixels in rows and then
    in columns adopt the lowest number in the run. The number of rounds is limited, so a
    shape with many turns, such as a maze, may keep several numbers.
    """
    rows, columns = _label_runs(mask), _label_runs(mask.T)
    # Pixels are in row-major order; `by_column` reorders them to column-major order.
    order = np.empty(mask.shape, np.intp)
    order[mask] = np.arange(len(rows))
    by_column = order.T[mask.T]
    row_starts, column_starts = _find_starts(rows), _find_starts(columns)
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


def _label_runs(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the number of the run of each true pixel; a run lies within a row."""
    starts = mask.copy()
    starts[:, 1:] &= ~mask[:, :-1]
    numbers: NDArray[np.intp] = np.cumsum(starts).reshape(mask.shape)[mask] - 1
    return numbers


def _find_starts(runs: NDArray[np.intp]) -> NDArray[Any]:
    """Return the index of the first pixel of each run."""
    return np.flatnonzero(np.diff(runs, prepend=-1))
