"""Composition of a transparent image with a background on which its ink is visible."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from handler.preprocess.image.shapes import label_shapes

__all__ = ["compose_on_background"]

_WHITE, _BLACK = 255, 0
_GRAYS = (128, 112, 144, 96, 160, 80, 176, 64, 192, 48, 208)
_CLEAR_CONTRAST = 85
"""Difference in lightness, from 0 to 255, above which ink counts as visible. Ink of
lightness 170 has a contrast ratio of 2.2 with white."""
_MAX_LOSS_ON_WHITE = 0.01
_TIE = 0.002
_MAX_WEIGHT = 0.05
_MAX_SAMPLES = 500_000
_VISIBLE, _CLEAR = 0.75, 0.25
"""Shares of the highest alpha: pixels above the first are visible, pixels below the
second are transparent. The rest are edges of letters, whose colours are unreliable."""


def compose_on_background(image: Image.Image) -> Image.Image:
    """Compose an RGBA image with a background on which its ink is visible, to RGB.

    The background is white unless more than 1 % of the visible pixels would be lost on
    it. Otherwise it is black, or the gray that loses the fewest pixels. A pixel is lost
    if its lightness is close to that of the background and no other part of its
    connected shape contrasts with the background; so light paper with dark ink is not
    lost on white. An image without visible pixels becomes white.
    """
    alpha = image.getchannel("A")
    low, high = alpha.getextrema()
    if low == 255:
        return image.convert("RGB")
    background = _choose_background(image, alpha, int(high)) if high else _WHITE  # type: ignore[arg-type]
    page = Image.new("RGB", image.size, (background,) * 3)
    page.paste(image, mask=alpha)
    return page


def _choose_background(image: Image.Image, alpha: Image.Image, most: int) -> int:
    """Return the lightness of the background on which the most ink is visible.

    `most` is the highest value of `alpha`.
    """
    step = math.ceil(math.sqrt(image.width * image.height / _MAX_SAMPLES))
    opacity = np.asarray(alpha)
    if (opacity[::step, ::step] < _VISIBLE * most).all():
        step = 1  # the sample has no visible pixels, so use all of them
    opacity = opacity[::step, ::step]
    visible = opacity >= _VISIBLE * most
    lightness = np.asarray(image.convert("RGB").convert("L"))[::step, ::step][visible]
    if _contrast_losses(_WHITE)[lightness].mean() <= _MAX_LOSS_ON_WHITE:
        return _WHITE
    shapes = label_shapes(visible)
    clear = Image.fromarray(
        np.where(opacity < _CLEAR * most, np.uint8(255), np.uint8(0))
    )
    inner = np.asarray(clear.filter(ImageFilter.MaxFilter(5)))[visible] == 0
    counts = {
        background: _share_without_ink(background, lightness, shapes, inner)
        for background in (_WHITE, _BLACK, *_GRAYS)
    }
    fewest = min(
        counts[background] @ _contrast_losses(background) for background in counts
    )
    if counts[_WHITE] @ _contrast_losses(_WHITE) <= fewest + _MAX_LOSS_ON_WHITE:
        return _WHITE
    # Limit the weight of each lightness: a few pixels of one may be as important as
    # many pixels of another.
    losses = {
        background: np.minimum(counts[background], _MAX_WEIGHT)
        @ _contrast_losses(background)
        for background in (_BLACK, *_GRAYS)
    }
    equal = [
        background
        for background in losses
        if losses[background] <= min(losses.values()) + _TIE
    ]
    if _BLACK in equal:
        return _BLACK
    return max(equal, key=lambda background: _mean_contrast(background, lightness))


def _share_without_ink(
    background: int,
    lightness: NDArray[np.uint8],
    shapes: NDArray[np.intp],
    inner: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return, for each lightness, the share of pixels that are in shapes without ink.

    `background` is the lightness of the background. Ink is a pixel that contrasts fully
    with it and is not near a transparent one: `inner` is True there.
    """
    # Only inner pixels count as ink, because the edges of a shape have mixed colours.
    ink = np.bincount(
        shapes, weights=(_contrast_losses(background)[lightness] == 0) & inner
    )
    counts = np.bincount(lightness[ink[shapes] == 0], minlength=256)
    shares: NDArray[np.float64] = counts / len(lightness)
    return shares


def _contrast_losses(background: int) -> NDArray[Any]:
    """Return the loss for each lightness, from 0 to 1 for that of the background.

    The loss is squared, so that low contrast for two colours is preferred to no
    contrast for one of them.
    """
    contrast = np.abs(np.arange(256) - background)
    return np.square(np.clip(1 - contrast / _CLEAR_CONTRAST, 0, 1))


def _mean_contrast(background: int, lightness: NDArray[np.uint8]) -> float:
    """Return the mean difference of pixels from the background, from 0 to 255."""
    return float(np.abs(np.arange(256) - background)[lightness].mean())
