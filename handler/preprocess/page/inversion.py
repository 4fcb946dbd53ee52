"""Detection and inversion of pages with light text on a dark background.

Such pages are negatives of microfilm, slides, and screenshots in dark mode. A page is
inverted only if it has text and an even background, so that photographs and figures on
a dark background keep their colours.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from handler.preprocess.page.ink import find_ink
from handler.preprocess.page.orientation import has_lines, text_share
from handler.preprocess.page.tiles import classify_tiles, cut_tiles

__all__ = ["invert_dark_page", "with_inverted_luminance"]

_MAX_GROUND = 110
"""The lightest gray level that counts as a dark background."""
_GROUND_WIDTH = 24
_MIN_GROUND_SHARE = 0.5
_NUM_TILES = 24
_MIN_TILES = 2
_MIN_TEXT_SHARE = 0.6


def invert_dark_page(gray: Image.Image) -> Image.Image | None:
    """Return the negative of a page of light text on a dark background, else None.

    `gray` is a page from `small_gray`.
    """
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
    """Return an RGB page with inverted luminance and unchanged hues."""
    luminance, blue, red = image.convert("YCbCr").split()
    bands = (ImageOps.invert(luminance), blue, red)
    return Image.merge("YCbCr", bands).convert("RGB")
