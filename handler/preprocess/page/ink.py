"""Detection of ink: pixels that are darker than the paper around them.

The functions work on a gray page at about 100 dots per inch. Letters of 8 points are
visible at that resolution, and the detection takes a few milliseconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["CLEAR_CONTRAST", "Ink", "find_ink", "reduction_factor", "small_gray"]

Levels = npt.NDArray[np.uint8]

# With this target, A4 at 192 dpi is reduced by 2, and at 300 dpi by 3.
_SHORT_SIDE = 850
_MAX_PIXELS = 6_000_000
_CELL = 20
"""Side in pixels of the cells; the lightest part of a cell is taken for its paper."""
MIN_CONTRAST = 24
"""Levels of gray. Bleed-through from the other side has up to about 20."""
CLEAR_CONTRAST = 48
"""Levels of gray that bleed-through from the other side never reaches."""
_NOISE_FACTOR = 5.0
_MAX_NOISE = 80
"""Levels of gray. A pattern with more contrast is not noise."""


@dataclass(frozen=True, slots=True)
class Ink:
    """Darkness of each pixel in comparison with the paper around it."""

    levels: Levels
    """Array of shape (height, width): 0 for paper, 255 for black on white."""
    threshold: int
    """The level from which a pixel counts as ink."""

    @property
    def is_clear(self) -> npt.NDArray[np.bool_]:
        """Mask of the pixels whose contrast is too high for bleed-through."""
        return self.levels >= max(self.threshold, CLEAR_CONTRAST)


def small_gray(image: Image.Image) -> Image.Image:
    """Return the page in gray, reduced by an integer factor."""
    # Conversion to gray before the reduction takes 1.5 times as long for A4 at 600 dpi.
    return image.reduce(reduction_factor(image)).convert("L")


def reduction_factor(image: Image.Image) -> int:
    """Return the factor by which a page is reduced before it is examined."""
    return max(
        1,
        round(min(image.size) / _SHORT_SIDE),
        math.ceil(math.sqrt(image.width * image.height / _MAX_PIXELS)),
    )


def find_ink(gray: Image.Image, min_contrast: int = MIN_CONTRAST) -> Ink:
    """Return the ink of a gray page.

    A pixel is ink if it is darker than the paper by at least `min_contrast` levels and
    by more than the noise of the paper. The level of the paper is the lightest mean of
    4 x 4 pixels within about 30 pixels, so that shadows and yellowed edges count as
    paper. Deeper inside a dark area no paper is that near, so the lightest dark level
    counts as paper there.
    """
    width, height = gray.size
    rows, columns = -(-height // _CELL), -(-width // _CELL)
    levels = np.asarray(gray)
    padding = ((0, rows * _CELL - height), (0, columns * _CELL - width))
    if padding != ((0, 0), (0, 0)):
        levels = np.pad(levels, padding, mode="edge")
    means = np.asarray(Image.fromarray(levels).reduce(4))
    side = _CELL // 4
    lightest = means.reshape(rows, side, columns * side).max(1)
    lightest = _max_of_neighbours(lightest.reshape(rows, columns, side).max(2))
    paper = np.repeat(np.repeat(lightest, _CELL, 0), _CELL, 1)
    darkness = (np.maximum(paper, levels) - levels)[:height, :width]
    noise = min(_estimate_noise_level(darkness[::4, ::4]), _MAX_NOISE)
    return Ink(darkness, max(min_contrast, noise))


def _max_of_neighbours(cells: Levels) -> Levels:
    """Return the largest value among each cell and its eight neighbours."""
    padded = np.pad(cells, 1, mode="edge")
    rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    return np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def _estimate_noise_level(darkness: Levels) -> int:
    """Return the level above which a pixel is unlikely to be noise or paper texture.

    It is estimated from the lighter half of the pixels, which has no ink. The tenth
    percentile of a normal distribution is 1.28 standard deviations below the median.
    """
    counts = np.bincount(darkness.ravel(), minlength=256).cumsum()
    lightest, median = np.searchsorted(counts, counts[-1] * np.array([0.1, 0.5]))
    return math.ceil(float(median + _NOISE_FACTOR * (median - lightest) / 1.28))
