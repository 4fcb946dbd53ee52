"""Conversion of samples of any type and depth to an image of 8 bits per sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = [
    "MAX_HOT_SHARE",
    "Rows",
    "Scale",
    "choose_scale",
    "find_extrema",
    "scale_image",
    "split_rows",
]

Rows = Callable[[int, int], "NDArray[Any]"]
"""Function that returns the samples of rows `start` to `stop`, exclusive, as an array
of shape (rows, columns, samples)."""

_BLOCK_SAMPLES = 1 << 22
_WORD_BITS = (8, 10, 12, 14)
"""Depths in bits that are stored in 16-bit words with zeros in the highest bits."""
_MIN_INK_BITS = 9
MAX_HOT_SHARE = 0.001
"""Largest share of hot pixels, the outliers of broken sensor elements. They are ignored
when the depth is determined."""
_MIN_DECLARED_MAXIMUM = 255
_FLOAT_WHITES = (1.0, 255.0, 65_535.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """The sample values that are mapped to 0 and 255."""

    low: float
    high: float

    def scale_samples(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Return `samples` as 8-bit values, with `low` mapped to 0 and `high` to 255.

        Values outside the range are clipped. If the range is empty, all samples become
        255 if `low` is above 0, else 0.
        """
        if samples.dtype.kind == "u" and samples.dtype.itemsize <= 2:
            values = np.arange(1 << 8 * samples.dtype.itemsize, dtype=np.float64)
            table: NDArray[Any] = self.scale_samples(values)
            return np.take(table, samples)
        span = self.high - self.low
        if span <= 0:
            return np.full(samples.shape, 255 if self.low > 0 else 0, np.uint8)
        scaled: NDArray[np.float64] = samples.astype(np.float64)
        scaled -= self.low
        scaled *= 255 / span
        scaled += 0.5
        return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


def split_rows(height: int, samples_per_row: int) -> Iterator[tuple[int, int]]:
    """Yield the range of each block of rows: its first row, and its end, exclusive."""
    step = max(1, _BLOCK_SAMPLES // max(1, samples_per_row))
    for start in range(0, height, step):
        yield start, min(start + step, height)


def choose_scale(
    extrema: tuple[float, float],
    dtype: Any,
    bits: int,
    *,
    declared_maximum: float | None = None,
    zero_is_white: bool = False,
) -> Scale:
    """Return the sample values that are mapped to 0 and 255.

    `extrema` are the lowest and the highest value in the image, `bits` is the depth
    that the file states, and `declared_maximum` the highest possible value if it states
    one.

    Files often state 16 bits for samples of 10, 12 or 14 bits. The depth is therefore
    the smallest that holds the highest value. Pages that do use 16 bits are not
    affected, because their paper is brighter than a quarter of the range. If zero is
    white, a blank page has low values only, so values below a hundredth of the range
    are not scaled by this rule.

    Raises OSError for values that are not finite.
    """
    low, high = extrema
    if not (math.isfinite(low) and math.isfinite(high)):
        raise OSError("the image has values that are not numbers")
    if dtype.kind == "f":
        whites = (*((declared_maximum,) if declared_maximum else ()), *_FLOAT_WHITES)
        fitting = (white for white in whites if low >= 0 and high <= white)
        return next((Scale(0, white) for white in fitting), Scale(low, high))
    if low < 0:
        return Scale(low, high)
    most = (1 << (bits - (dtype.kind == "i"))) - 1
    if bits < 16:
        return Scale(0, most)
    if declared_maximum and max(high, _MIN_DECLARED_MAXIMUM) <= declared_maximum < most:
        return Scale(0, declared_maximum)
    is_blank = zero_is_white and high < 1 << _MIN_INK_BITS
    for depth in () if is_blank else _WORD_BITS:
        if high < 1 << depth:
            return Scale(0, (1 << depth) - 1)
    if bits == 16 or high > most / 2:
        return Scale(0, most)
    return Scale(0, 65_535) if high <= 65_535 else Scale(low, high)


def find_extrema(
    rows: Rows, size: tuple[int, int], num_colours: int
) -> tuple[float, float]:
    """Return the lowest and the highest value of the color samples of an image.

    Hot pixels in 16-bit words are ignored. They are at most a thousandth of the
    samples, they use more bits than the other samples, and most of them have no such
    neighbor in their row. Returns two NaN if a value is not finite.
    """
    width, height = size
    blocks = list(split_rows(height, width * num_colours))
    limits = [1 << bits for bits in _WORD_BITS]
    is_words = rows(0, 1).dtype == np.uint16
    low, high, num_above = math.inf, -math.inf, np.zeros(len(limits), np.int64)
    for start, stop in blocks:
        colours = rows(start, stop)[..., :num_colours]
        low, high = min(low, float(colours.min())), max(high, float(colours.max()))
        if not math.isfinite(low + high):
            return math.nan, math.nan
        if is_words:
            num_above += [np.count_nonzero(colours >= limit) for limit in limits]
    most_hot = MAX_HOT_SHARE * width * height * num_colours
    for limit, number in zip(limits, num_above, strict=True):
        if low < limit and 0 < number <= most_hot:
            num_isolated, below = 0, low
            for start, stop in blocks:
                colours = rows(start, stop)[..., :num_colours]
                num_isolated += _count_isolated_values(colours >= limit)
                below = max(below, float(colours[colours < limit].max(initial=0)))
            return low, below if 2 * num_isolated > number else high
    return low, high


def _count_isolated_values(mask: NDArray[np.bool_]) -> int:
    """Count true values without a true left or right neighbor.

    `mask` has the shape (rows, columns, samples).
    """
    padded = np.pad(mask, ((0, 0), (1, 1), (0, 0)))
    return int((mask & ~padded[:, :-2] & ~padded[:, 2:]).sum())


def scale_image(
    rows: Rows,
    mode: str,
    size: tuple[int, int],
    scale: Scale,
    *,
    invert: bool = False,
) -> Image.Image:
    """Return an image of `mode` whose bands are the first samples of each pixel.

    `invert` exchanges black and white in the colours, but not in the alpha band. The
    alpha band has the scale of the colours, or the range of its type if its values
    exceed that scale.
    """
    width, height = size
    num_bands = Image.getmodebands(mode)
    has_alpha = mode in ("LA", "La", "RGBA", "RGBa")
    num_colours = num_bands - has_alpha
    alpha_scale = (
        _choose_alpha_scale(rows, size, num_colours, scale) if has_alpha else scale
    )
    pixels = np.empty((height, width, num_bands), np.uint8)
    for start, stop in split_rows(height, width * num_bands):
        block = rows(start, stop)
        colours = scale.scale_samples(block[..., :num_colours])
        if invert:
            np.subtract(255, colours, out=colours)
        pixels[start:stop, :, :num_colours] = colours
        if has_alpha:
            alpha = block[..., num_colours : num_colours + 1]
            pixels[start:stop, :, num_colours:] = alpha_scale.scale_samples(alpha)
    return Image.frombuffer(mode, size, pixels, "raw", mode, 0, 1)


def _choose_alpha_scale(
    rows: Rows, size: tuple[int, int], band: int, scale: Scale
) -> Scale:
    """Return the scale of the alpha band, which is the sample at index `band`."""
    width, height = size
    most = 0.0
    dtype: Any = None
    for start, stop in split_rows(height, width * (band + 1)):
        alpha = rows(start, stop)[..., band]
        most, dtype = max(most, float(alpha.max())), alpha.dtype
    if most <= scale.high or dtype.kind != "u":
        return Scale(0, scale.high)
    return Scale(0, (1 << 8 * dtype.itemsize) - 1)
