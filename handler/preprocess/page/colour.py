"""Find ink that differs from its paper in colour and hardly in luminance.

Green text on red is as dark as its ground. Blue and red differences (Cb and Cr) show
it, and neither the shadows of paper nor print of the other side, which are gray.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from handler.preprocess.page.blank import has_ink
from handler.preprocess.page.ink import Ink, find_ink, reduction_of

__all__ = ["view_of_colours"]

_BANDS = (1, 2)
"""Cb and Cr of YCbCr."""
_MIN_RANGE = 26
"""Levels of contrast below which `has_ink` finds nothing; gray pages have none."""
_FRINGE = ImageFilter.MaxFilter(7)
"""Scanners put fringes of colour around dark dust, holes and borders."""


def view_of_colours(image: Image.Image, dark: Ink) -> Image.Image | None:
    """Return an RGB page in gray so that coloured ink is dark on light, or None.

    The view has the size of the page. None if no colour difference shows ink. `dark` is
    the ink of the small gray page, of which nothing can be read.
    """
    small = image.reduce(reduction_of(image)).convert("YCbCr")
    near_dark = Image.fromarray(dark.is_clear).convert("L").filter(_FRINGE)
    for band in _BANDS:
        gray = small.getchannel(band)
        levels = np.asarray(gray)
        if np.ptp(levels) < _MIN_RANGE:
            continue
        counts = np.bincount(levels.ravel(), minlength=256).cumsum()
        gray.paste(int(np.searchsorted(counts, counts[-1] / 2)), mask=near_dark)
        for is_lighter in (False, True):
            page = ImageOps.invert(gray) if is_lighter else gray
            if has_ink(page, find_ink(page)):
                view = image.convert("YCbCr").getchannel(band)
                return ImageOps.invert(view) if is_lighter else view
    return None
