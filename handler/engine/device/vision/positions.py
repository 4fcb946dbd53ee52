"""Positions of an image's patches, computed on the host.

The encoder orders patches so that those merged into one token are adjacent: by rows and
columns of merged patches, and within these by rows and columns of patches. The
arithmetic is that of transformers' `vision_utils`, in float32 and in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["Interpolation", "interpolate_positions", "patch_coordinates"]


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Positions of n patches in a square table of position embeddings."""

    indices: torch.Tensor
    """[4, n] int64: the rows of the table around each patch."""
    weights: torch.Tensor
    """[4, n] float32: the weight of each row; those of a patch add up to one."""


def patch_coordinates(
    num_rows: int, num_columns: int, merge_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the row and the column of each patch, [n] int64 each, on the host."""
    shape = (
        num_rows // merge_size,
        merge_size,
        num_columns // merge_size,
        merge_size,
    )
    rows = torch.arange(num_rows)[:, None].expand(-1, num_columns)
    columns = torch.arange(num_columns)[None].expand(num_rows, -1)
    return (
        rows.reshape(shape).transpose(1, 2).flatten(),
        columns.reshape(shape).transpose(1, 2).flatten(),
    )


def interpolate_positions(
    rows: torch.Tensor,
    columns: torch.Tensor,
    num_rows: int,
    num_columns: int,
    table_side: int,
) -> Interpolation:
    """Interpolate a table of `table_side` squared position embeddings.

    The interpolation is bilinear with aligned corners: the first and last rows and
    columns of patches lie on those of the table.
    """
    row_neighbours, row_weights = _find_neighbours(num_rows, table_side)
    column_neighbours, column_weights = _find_neighbours(num_columns, table_side)
    indices = [
        row_neighbours[i][rows] * table_side + column_neighbours[j][columns]
        for i in (0, 1)
        for j in (0, 1)
    ]
    weights = [
        row_weights[i][rows] * column_weights[j][columns]
        for i in (0, 1)
        for j in (0, 1)
    ]
    return Interpolation(torch.stack(indices), torch.stack(weights))


def _find_neighbours(size: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the two table neighbours of each of `size` positions, and their weights.

    Both are [2, size].
    """
    positions = torch.arange(size, dtype=torch.float32) * (side - 1) / max(size - 1, 1)
    floor = positions.floor()
    offsets = torch.arange(2)[:, None]
    neighbours = (floor.long() + offsets).clamp(0, side - 1)
    weights = (1 - (positions - floor - offsets).abs()).clamp(min=0)
    return neighbours, weights
