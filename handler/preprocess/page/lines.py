"""Classification of text lines as upright or upside down."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from handler.preprocess.page.ink import Ink
from handler.preprocess.page.network import (
    Floats,
    classify_features,
    convolve,
    load_weights,
    max_pool,
)

__all__ = ["DOWN", "LINE_SIZE", "NEITHER", "UP", "classify_lines", "cut_lines"]

LINE_SIZE = (48, 28)
"""Width and height in pixels of the part of a line that is classified."""
UP, DOWN, NEITHER = range(3)
"""Classes of a part of a line: upright text, text upside down, and other marks."""

_WINDOW = 48
"""Width in pixels of the columns in which lines are searched for. Lines with a skew of
3 degrees rise by less than 3 pixels within it."""
_MIN_CORE_SHARE = 0.35
_MIN_SHARE = 10
"""Smallest share of ink in a row, from 0 to 255: two pixels of a window."""
_CORE_HEIGHT = 10
"""Height in pixels to which the core of a line is scaled: lower case letters without
ascenders, or capitals."""
_CORE_HEIGHTS = range(4, 48)
_MAX_FILL = 0.85
"""Rows with a larger share of ink than this are rules of a table."""

# Loaded at import, because a confined process may not open files later.
_WEIGHTS = load_weights("lines")


def cut_lines(ink: Ink, max_lines: int) -> Floats:
    """Return parts of up to `max_lines` lines of text, spread evenly over the page.

    The shape is (lines, height, width), whose size is LINE_SIZE. Each part is scaled
    so that its darkest pixel is 1 and the core of the line, the rows with most ink, is
    always at the same place.
    """
    width, height = LINE_SIZE
    places = _find_line_cores(ink)
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


def _find_line_cores(ink: Ink) -> npt.NDArray[np.int64]:
    """Find the core of each part of a line: the run of rows with most ink in a window.

    Returns an array of shape (parts, 3) with the index of the window, the top of the
    core and its height. A row belongs to a core if it has much ink in comparison with
    the rows of the window that have ink.
    """
    height, width = ink.levels.shape
    num_windows = width // _WINDOW
    if not num_windows:
        return np.zeros((0, 3), np.int64)
    is_ink = (ink.levels >= ink.threshold).view(np.uint8) * np.uint8(255)
    reduced = Image.fromarray(is_ink).reduce((_WINDOW, 1))
    # The share of ink from 0 to 255, of shape (windows, rows).
    shares = np.asarray(reduced)[:, :num_windows].T.copy()
    shares[shares > _MAX_FILL * 255] = 0
    ordered = np.sort(shares, 1)
    with_ink = (shares > 0).sum(1)
    much = np.take_along_axis(
        ordered, (height - 1 - with_ink // 10)[:, None].clip(0, height - 1), 1
    )
    is_core = shares >= np.maximum(_MIN_CORE_SHARE * much, _MIN_SHARE)
    edges = np.diff(np.pad(is_core.view(np.int8), ((0, 0), (1, 1))), axis=1)
    windows, rows = np.nonzero(edges)
    places = np.stack([windows[::2], rows[::2], rows[1::2] - rows[::2]], 1)
    heights = places[:, 2]
    is_line = (heights >= _CORE_HEIGHTS.start) & (heights < _CORE_HEIGHTS.stop)
    result: npt.NDArray[np.int64] = places[is_line]
    return result


def classify_lines(lines: Floats) -> Floats:
    """Return the probabilities of UP, DOWN and NEITHER, of shape (lines, 3).

    `lines` are parts of lines from `cut_lines`.
    """
    values = convolve(lines[..., None], _WEIGHTS, 1)
    values = max_pool(convolve(values, _WEIGHTS, 2, stride=2))
    values = convolve(values, _WEIGHTS, 3)
    # Average over columns only: ascenders and descenders differ in their row.
    features = values.mean(2).reshape(len(lines), len(_WEIGHTS["w4"]))
    return classify_features(features, _WEIGHTS, 4)
