"""Tell lines of text that stand upright from lines that stand on their heads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from handler.preprocess.page.ink import Ink
from handler.preprocess.page.network import (
    Floats,
    convolve,
    load_weights,
    pool,
    softmax,
)

__all__ = ["DOWN", "LINE_SIZE", "NEITHER", "UP", "classify_lines", "cut_lines"]

LINE_SIZE = (48, 28)
"""Width and height in pixels of the part of a line that is classified."""
UP, DOWN, NEITHER = range(3)

_WINDOW = 48
"""Width of the columns in which lines are looked for. Lines 3 degrees askew rise by
less than 3 pixels in it."""
_CORE_SHARE = 0.35
_MIN_SHARE = 10
"""Of 255: two pixels of a window."""
_CORE_HEIGHT = 10
"""Small letters without ascenders, or whole capitals, are scaled to this height."""
_CORE_HEIGHTS = range(4, 48)
_MAX_FILL = 0.85
"""Rows with more ink than this are rules of a table."""

# At import: a confined process may not open files later.
_WEIGHTS = load_weights("lines")


def cut_lines(ink: Ink, max_lines: int) -> Floats:
    """Return parts of up to `max_lines` lines of text, spread evenly over the page.

    (lines, height, width) of LINE_SIZE, each scaled so that its darkest pixel is 1. The
    core of the line, the rows with most ink, is always at the same place.
    """
    width, height = LINE_SIZE
    places = _places(ink)
    if len(places) > max_lines:
        places = places[np.arange(max_lines) * len(places) // max_lines]
    lines = np.zeros((len(places), height, width), np.float32)
    image = Image.fromarray(ink.levels)
    for line, (window, top, core) in zip(lines, places.tolist(), strict=True):
        scale = core / _CORE_HEIGHT
        left = (window + 0.5) * _WINDOW - width * scale / 2
        upper = top - (height * scale - core) / 2
        box = (left, upper, left + width * scale, upper + height * scale)
        part = image.transform(
            LINE_SIZE, Image.Transform.EXTENT, box, Image.Resampling.BILINEAR
        )
        line[:] = np.asarray(part)
    darkest = lines.max((1, 2), keepdims=True)
    result: Floats = lines / np.maximum(darkest, np.float32(ink.threshold))
    return result


def _places(ink: Ink) -> npt.NDArray[np.int64]:
    """Window, top of a core and height of the core for each part of a line: (parts, 3).

    A core is a run of rows with much ink in a window, against the rows of the window
    that have any.
    """
    height, width = ink.levels.shape
    num_windows = width // _WINDOW
    if not num_windows:
        return np.zeros((0, 3), np.int64)
    is_ink = (ink.levels >= ink.threshold).view(np.uint8) * np.uint8(255)
    reduced = Image.fromarray(is_ink).reduce((_WINDOW, 1))
    # (windows, rows): the share of ink, 0 to 255.
    shares = np.asarray(reduced)[:, :num_windows].T.copy()
    shares[shares > _MAX_FILL * 255] = 0
    ordered = np.sort(shares, 1)
    with_ink = (shares > 0).sum(1)
    much = np.take_along_axis(
        ordered, (height - 1 - with_ink // 10)[:, None].clip(0, height - 1), 1
    )
    is_core = shares >= np.maximum(_CORE_SHARE * much, _MIN_SHARE)
    edges = np.diff(np.pad(is_core.view(np.int8), ((0, 0), (1, 1))), axis=1)
    windows, rows = np.nonzero(edges)
    places = np.stack([windows[::2], rows[::2], rows[1::2] - rows[::2]], 1)
    heights = places[:, 2]
    is_line = (heights >= _CORE_HEIGHTS.start) & (heights < _CORE_HEIGHTS.stop)
    result: npt.NDArray[np.int64] = places[is_line]
    return result


def classify_lines(lines: Floats) -> Floats:
    """Return the probability of each class for each part of a line: (lines, 3)."""
    values = convolve(lines[..., None], _WEIGHTS, 1)
    values = pool(convolve(values, _WEIGHTS, 2, stride=2))
    values = convolve(values, _WEIGHTS, 3)
    # The row matters, because ascenders are above and descenders below.
    features = values.mean(2).reshape(len(lines), len(_WEIGHTS["w4"]))
    return softmax(features, _WEIGHTS, 4)
