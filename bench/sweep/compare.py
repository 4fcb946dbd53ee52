"""Comparison of two gray renderings of a page."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

__all__ = ["DifferenceKind", "RenderingDifference", "compare"]

SIDE = 256
"""Longest side at which pages are compared. Differences of antialiasing and hinting
between renderers disappear at this size."""
BLUR_PIXELS = 1.0
"""Radius of a Gaussian blur, because thin lines may be half a pixel off."""
TILE = 16
MIN_CONTRAST = 1.0
"""Standard deviation of gray values from which a page counts as not blank."""
MAX_MEAN = 16.0
MIN_CORRELATION = 0.85
MAX_TILE = 20.0
"""Largest accepted difference between the mean grays of a tile, of 255. Missing text
gives about 30, and a solid edge that is a pixel off gives 16."""
MAX_ASPECT = 1.02


class DifferenceKind(enum.StrEnum):
    """Kind of difference between our page and the reference."""

    SAME = "same"
    BLANK = "blank"
    """Our page is blank, but the reference is not."""
    EXTRA = "extra"
    """Our page is not blank, but the reference is."""
    SHAPE = "shape"
    """The aspect ratios differ."""
    INVERTED = "inverted"
    TURNED = "turned"
    SHADE = "shade"
    """The same content, lighter or darker."""
    PART = "part"
    """A part of the page differs."""
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class RenderingDifference:
    """Difference between two renderings of a page.

    `mean` is the mean absolute difference of gray values, 0 to 255, and `worst_tile`
    the largest difference of the mean gray of a tile. `correlation` is None if either
    has no contrast.
    """

    kind: DifferenceKind
    mean: float
    worst_tile: float
    correlation: float | None


def compare(ours: Image.Image, reference: Image.Image) -> RenderingDifference:
    """Compare two gray images at a common size."""
    size = _thumbnail_size(reference)
    first, second = _pixels(ours, size), _pixels(reference, size)
    gaps = first - second
    mean, worst = float(np.abs(gaps).mean()), _worst_tile(gaps)
    correlation = _correlation(first, second)

    def difference(kind: DifferenceKind) -> RenderingDifference:
        return RenderingDifference(kind, mean, worst, correlation)

    has_content = [values.std() >= MIN_CONTRAST for values in (first, second)]
    if not all(has_content):
        if has_content[1]:
            return difference(DifferenceKind.BLANK)
        if has_content[0]:
            return difference(DifferenceKind.EXTRA)
        return difference(
            DifferenceKind.SAME if mean <= MAX_MEAN else DifferenceKind.SHADE
        )
    assert correlation is not None
    if _has_same_shape(ours, reference) and correlation >= MIN_CORRELATION:
        if mean > MAX_MEAN:
            return difference(DifferenceKind.SHADE)
        return difference(
            DifferenceKind.SAME if worst <= MAX_TILE else DifferenceKind.PART
        )
    if correlation <= -MIN_CORRELATION:
        return difference(DifferenceKind.INVERTED)
    for degrees in (90, 180, 270):
        turned = ours.rotate(degrees, expand=True)
        again = _correlation(_pixels(turned, size), second)
        if _has_same_shape(turned, reference) and (again or 0) >= MIN_CORRELATION:
            return difference(DifferenceKind.TURNED)
    is_shape = not _has_same_shape(ours, reference)
    return difference(DifferenceKind.SHAPE if is_shape else DifferenceKind.DIFFERENT)


def _thumbnail_size(image: Image.Image) -> tuple[int, int]:
    scale = SIDE / max(image.size)
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))


def _pixels(image: Image.Image, size: tuple[int, int]) -> NDArray[np.float32]:
    resized = image.convert("L").resize(size, Image.Resampling.BOX)
    blurred = resized.filter(ImageFilter.GaussianBlur(BLUR_PIXELS))
    return np.asarray(blurred, dtype=np.float32)


def _has_same_shape(first: Image.Image, second: Image.Image) -> bool:
    """Return True if the aspect ratios agree within the rounding to whole pixels."""
    ratio = first.width * second.height / (first.height * second.width)
    rounding = 1 + 1 / min(*first.size, *second.size)
    return abs(math.log(ratio)) <= math.log(MAX_ASPECT * rounding)


def _correlation(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> float | None:
    first, second = first - first.mean(), second - second.mean()
    scale = math.sqrt(float((first**2).sum()) * float((second**2).sum()))
    return float((first * second).sum()) / scale if scale > 0 else None


def _worst_tile(gaps: NDArray[np.float32]) -> float:
    height, width = gaps.shape
    return max(
        abs(float(gaps[top : top + TILE, left : left + TILE].mean()))
        for top in range(0, height, TILE)
        for left in range(0, width, TILE)
    )
