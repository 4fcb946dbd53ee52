"""Classify tiles of a page by the direction of the text in them.

A small convolutional network, trained by `bench.orientation.train` on rendered pages
and evaluated here with numpy alone. Its weights are `tiles.npz`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources

import numpy as np
import numpy.typing as npt

from handler.preprocess.page.ink import Ink

__all__ = [
    "NO_TEXT",
    "NUM_CLASSES",
    "TILE",
    "Floats",
    "classify",
    "cut_tiles",
    "load_weights",
]

Floats = npt.NDArray[np.float32]
Weights = Mapping[str, Floats]

TILE = 48
"""Side of a tile in pixels: about three lines of six letters."""
NO_TEXT = 4
"""The class after those of text turned by 0, 90, 180 and 270 degrees clockwise."""
NUM_CLASSES = 5

_MIN_INK, _MAX_INK = 0.04, 0.6


def cut_tiles(ink: Ink, max_tiles: int) -> Floats:
    """Return up to `max_tiles` tiles with ink, spread evenly over the page.

    (tiles, TILE, TILE), each scaled so that its darkest pixel is 1.
    """
    rows, columns = (side // TILE for side in ink.levels.shape)
    if not rows or not columns:
        return np.zeros((0, TILE, TILE), np.float32)
    levels = ink.levels[: rows * TILE, : columns * TILE]
    grid = levels.reshape(rows, TILE, columns, TILE)
    is_ink = (levels >= ink.threshold).view(np.uint8)
    sums = is_ink.reshape(rows, TILE, columns * TILE).sum(1, dtype=np.uint8)
    share = sums.reshape(rows, columns, TILE).sum(2) / (TILE * TILE)
    chosen = np.flatnonzero((share >= _MIN_INK) & (share <= _MAX_INK))
    if len(chosen) > max_tiles:
        chosen = chosen[np.arange(max_tiles) * len(chosen) // max_tiles]
    tiles = grid[chosen // columns, :, chosen % columns, :].astype(np.float32)
    return tiles / np.maximum(tiles.max((1, 2), keepdims=True), float(ink.threshold))


@functools.cache
def load_weights() -> Weights:
    """Read the weights of the network from the package, once in a process."""
    path = resources.files("handler.preprocess.page") / "tiles.npz"
    with path.open("rb") as file, np.load(file) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays.files}


def classify(tiles: Floats) -> Floats:
    """Return the probability of each class for each tile: (tiles, NUM_CLASSES)."""
    if not len(tiles):
        return np.zeros((0, NUM_CLASSES), np.float32)
    weights = load_weights()
    values = tiles[..., None]
    values = _convolve(values, weights["w1"], weights["b1"], 2)
    values = _convolve(values, weights["w2"], weights["b2"], 2)
    values = _convolve(values, weights["w3"], weights["b3"], 1)
    count, side = len(values), values.shape[1] // 2
    values = values.reshape(count, side, 2, side, 2, -1).max((2, 4))
    values = _convolve(values, weights["w4"], weights["b4"], 1)
    logits = values.mean((1, 2)) @ weights["w5"] + weights["b5"]
    logits -= logits.max(1, keepdims=True)
    exponentials = np.exp(logits)
    result: Floats = exponentials / exponentials.sum(1, keepdims=True)
    return result


def _convolve(values: Floats, weight: Floats, bias: Floats, stride: int) -> Floats:
    """ReLU of a convolution without padding; `weight` is (side * side * in, out)."""
    channels = values.shape[3]
    side = round((len(weight) / channels) ** 0.5)
    windows = np.lib.stride_tricks.sliding_window_view(values, (side, side), (1, 2))
    windows = windows[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)
    shape = windows.shape[:3]
    patches = windows.reshape(-1, side * side * channels)
    result: Floats = np.maximum(patches @ weight + bias, 0).reshape(*shape, -1)
    return result
