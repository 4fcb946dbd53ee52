"""Tell lines of text that stand upright from lines that stand on their heads."""

from __future__ import annotations

from collections.abc import Iterator

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
    places = list(_places(ink))
    if len(places) > max_lines:
        places = [places[i * len(places) // max_lines] for i in range(max_lines)]
    lines = np.zeros((len(places), height, width), np.float32)
    image = Image.fromarray(ink.levels)
    for line, (centre, top, core) in zip(lines, places, strict=True):
        scale = core / _CORE_HEIGHT
        left = centre - width * scale / 2
        upper = top - (height * scale - core) / 2
        box = (left, upper, left + width * scale, upper + height * scale)
        part = image.transform(
            LINE_SIZE, Image.Transform.EXTENT, box, Image.Resampling.BILINEAR
        )
        line[:] = np.asarray(part)
    darkest = lines.max((1, 2), keepdims=True)
    result: Floats = lines / np.maximum(darkest, np.float32(ink.threshold))
    return result


def _places(ink: Ink) -> Iterator[tuple[float, int, int]]:
    """Centre of a window, top of a core and height of the core."""
    num_windows = ink.levels.shape[1] // _WINDOW
    is_ink = (ink.levels[:, : num_windows * _WINDOW] >= ink.threshold).view(np.uint8)
    windows = is_ink.reshape(len(is_ink), num_windows, _WINDOW).sum(2, dtype=np.uint8)
    windows[windows > _MAX_FILL * _WINDOW] = 0
    for number in range(num_windows):
        counts = windows[:, number]
        for top, bottom in _cores(counts):
            if bottom - top in _CORE_HEIGHTS:
                yield (number + 0.5) * _WINDOW, top, bottom - top


def _cores(counts: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """First row and last row but one of each run of rows with much ink."""
    with_ink = counts[counts > 0]
    if not len(with_ink):
        return []
    is_core = counts >= max(2.0, _CORE_SHARE * float(np.percentile(with_ink, 90)))
    edges = np.flatnonzero(np.diff(is_core.astype(np.int8), prepend=0, append=0))
    return [(int(top), int(bottom)) for top, bottom in edges.reshape(-1, 2)]


def classify_lines(lines: Floats) -> Floats:
    """Return the probability of each class for each part of a line: (lines, 3)."""
    values = convolve(lines[..., None], _WEIGHTS, 1)
    values = pool(convolve(values, _WEIGHTS, 2, stride=2))
    values = convolve(values, _WEIGHTS, 3)
    # The row matters, because ascenders are above and descenders below.
    features = values.mean(2).reshape(len(lines), len(_WEIGHTS["w4"]))
    return softmax(features, _WEIGHTS, 4)
