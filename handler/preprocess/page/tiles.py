"""Classification of tiles as horizontal text, vertical text or no text."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from handler.preprocess.page.ink import Ink
from handler.preprocess.page.network import (
    Floats,
    classify_features,
    convolve,
    load_weights,
    max_pool,
)

__all__ = [
    "HORIZONTAL",
    "NO_TEXT",
    "TILE",
    "VERTICAL",
    "classify_tiles",
    "cut_tiles",
    "find_tiles",
]

TILE = 48
"""Side of a tile in pixels: about three lines of six letters."""
HORIZONTAL, VERTICAL, NO_TEXT = range(3)
"""HORIZONTAL: letters are upright or upside down. VERTICAL: letters lie on a side.
Upright characters in columns, as in Japanese, count as horizontal."""

_MIN_INK, _MAX_INK = 0.04, 0.6

# Loaded at import, because a confined process may not open files later.
_WEIGHTS = load_weights("tiles")


def cut_tiles(ink: Ink, max_tiles: int) -> Floats:
    """Return up to `max_tiles` tiles with ink, spread evenly over the page.

    The shape is (tiles, TILE, TILE). Each tile is scaled so that its darkest pixel
    is 1.
    """
    rows, columns = (side // TILE for side in ink.levels.shape)
    if not rows or not columns:
        return np.zeros((0, TILE, TILE), np.float32)
    places = find_tiles(ink, max_tiles)
    levels = ink.levels[: rows * TILE, : columns * TILE]
    grid = levels.reshape(rows, TILE, columns, TILE)
    tiles = grid[places[:, 0], :, places[:, 1], :].astype(np.float32)
    darkest = tiles.max((1, 2), keepdims=True)
    result: Floats = tiles / np.maximum(darkest, np.float32(ink.threshold))
    return result


def find_tiles(ink: Ink, max_tiles: int) -> npt.NDArray[np.int64]:
    """Return rows and columns of up to `max_tiles` tiles with ink: shape (tiles, 2)."""
    rows, columns = (side // TILE for side in ink.levels.shape)
    if not rows or not columns:
        return np.zeros((0, 2), np.int64)
    levels = ink.levels[: rows * TILE, : columns * TILE]
    is_ink = (levels >= ink.threshold).view(np.uint8)
    sums = is_ink.reshape(rows, TILE, columns * TILE).sum(1, dtype=np.uint8)
    share = sums.reshape(rows, columns, TILE).sum(2) / (TILE * TILE)
    chosen = np.flatnonzero((share >= _MIN_INK) & (share <= _MAX_INK))
    if len(chosen) > max_tiles:
        chosen = chosen[np.arange(max_tiles) * len(chosen) // max_tiles]
    return np.stack([chosen // columns, chosen % columns], 1)


def classify_tiles(tiles: Floats) -> Floats:
    """Return the probabilities of HORIZONTAL, VERTICAL and NO_TEXT: shape (tiles, 3).

    `tiles` are from `cut_tiles`.
    """
    values = convolve(tiles[..., None], _WEIGHTS, 1, stride=2)
    values = convolve(values, _WEIGHTS, 2, stride=2)
    values = max_pool(convolve(values, _WEIGHTS, 3))
    values = convolve(values, _WEIGHTS, 4)
    return classify_features(values.mean((1, 2)), _WEIGHTS, 5)
