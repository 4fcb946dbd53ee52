"""Find the ink of a page: pixels darker than the paper around them.

Works on a gray page of about 100 dots per inch, which is enough to see letters of
8 points and costs a few milliseconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["CLEAR_CONTRAST", "Ink", "find_ink", "reduction_of", "small_gray"]

Levels = npt.NDArray[np.uint8]

# A4 at 192 dpi is then reduced by 2, and at 300 dpi by 3.
_SHORT_SIDE = 850
_MAX_PIXELS = 6_000_000
_CELL = 20
"""Side of the cells, in pixels, whose lightest part is their paper."""
MIN_CONTRAST = 24
"""Levels of gray. Print of the other side that shows through has up to about 20."""
CLEAR_CONTRAST = 48
"""Print of the other side does not reach this many levels of gray."""
_NOISE_FACTOR = 5.0
_MAX_NOISE = 80
"""A pattern of more contrast is no noise."""


@dataclass(frozen=True, slots=True)
class Ink:
    """Darkness of each pixel against the paper around it."""

    levels: Levels
    """(height, width): 0 for paper, 255 for black on white."""
    threshold: int
    """The level from which a pixel counts as ink."""

    @property
    def is_clear(self) -> npt.NDArray[np.bool_]:
        """Return where there is ink that print of the other side cannot be."""
        return self.levels >= max(self.threshold, CLEAR_CONTRAST)


def small_gray(image: Image.Image) -> Image.Image:
    """Return the page in gray, reduced by a whole factor."""
    # Converting first would take half as long again for A4 at 600 dpi.
    return image.reduce(reduction_of(image)).convert("L")


def reduction_of(image: Image.Image) -> int:
    """Return the factor by which a page is reduced before it is examined."""
    return max(
        1,
        round(min(image.size) / _SHORT_SIDE),
        math.ceil(math.sqrt(image.width * image.height / _MAX_PIXELS)),
    )


def find_ink(gray: Image.Image, min_contrast: int = MIN_CONTRAST) -> Ink:
    """Return the ink of a gray page: what is darker by `min_contrast`, and by noise.

    Paper is the lightest of the means of 4 by 4 pixels within about 30 pixels, so that
    shadows and yellowed edges are paper too. The inside of a large dark area is paper
    of its own.
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
    lightest = _dilated(lightest.reshape(rows, columns, side).max(2))
    paper = np.repeat(np.repeat(lightest, _CELL, 0), _CELL, 1)
    darkness = (np.maximum(paper, levels) - levels)[:height, :width]
    noise = min(_paper_limit(darkness[::4, ::4]), _MAX_NOISE)
    return Ink(darkness, max(min_contrast, noise))


def _dilated(cells: Levels) -> Levels:
    """The largest value of each cell and its eight neighbours."""
    padded = np.pad(cells, 1, mode="edge")
    rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    return np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])


def _paper_limit(darkness: Levels) -> int:
    """The level above which a pixel is hardly the noise or texture of paper.

    From the lighter half of the pixels, which ink does not reach: for normal noise
    their tenth lies 1.28 deviations below the median.
    """
    counts = np.bincount(darkness.ravel(), minlength=256).cumsum()
    lightest, median = np.searchsorted(counts, counts[-1] * np.array([0.1, 0.5]))
    return math.ceil(float(median + _NOISE_FACTOR * (median - lightest) / 1.28))
