"""Recognise pages of light text on a dark ground, and invert their luminance.

Negatives of microfilm, slides and screenshots in dark mode. A photograph or a figure
on a dark ground stays as it is: there must be text, and the ground must be even.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from handler.preprocess.page.ink import find_ink
from handler.preprocess.page.orientation import has_lines, text_share
from handler.preprocess.page.tiles import classify_tiles, cut_tiles

__all__ = ["inverted_gray", "with_inverted_luminance"]

_MAX_GROUND = 110
"""The lightest gray that counts as a dark ground."""
_GROUND_WIDTH = 24
_MIN_GROUND_SHARE = 0.5
_NUM_TILES = 24
_MIN_TILES = 2
_MIN_TEXT_SHARE = 0.6


def inverted_gray(gray: Image.Image) -> Image.Image | None:
    """Return a page from `small_gray` inverted if it is light on dark, else None."""
    counts = np.bincount(np.asarray(gray)[::4, ::4].ravel(), minlength=256)
    ground = int(counts.argmax())
    near = counts[max(0, ground - _GROUND_WIDTH) : ground + _GROUND_WIDTH + 1]
    if ground > _MAX_GROUND or near.sum() < _MIN_GROUND_SHARE * counts.sum():
        return None
    inverted = ImageOps.invert(gray)
    for page in (inverted, inverted.reduce(2), inverted.reduce(4)):
        tiles = cut_tiles(find_ink(page), _NUM_TILES)
        share = text_share(classify_tiles(tiles))
        if len(tiles) >= _MIN_TILES and share >= _MIN_TEXT_SHARE and has_lines(page):
            return inverted
    return None


def with_inverted_luminance(image: Image.Image) -> Image.Image:
    """Return an RGB page with light and dark exchanged and colours kept."""
    luminance, blue, red = image.convert("YCbCr").split()
    bands = (ImageOps.invert(luminance), blue, red)
    return Image.merge("YCbCr", bands).convert("RGB")
