"""Detection of ink that differs from its paper in colour but not in luminance.

Green text on red may be as dark as its background. It is visible in the blue and red
difference channels (Cb and Cr). Shadows on paper and bleed-through are gray, so these
channels do not show them.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from handler.preprocess.page.blank import has_ink
from handler.preprocess.page.ink import Ink, find_ink, reduction_factor

__all__ = ["find_colour_view"]

_BANDS = (1, 2)
"""Indices of Cb and Cr in YCbCr."""
_MIN_RANGE = 26
"""Range of levels below which `has_ink` cannot find ink. Gray pages have none."""
_FRINGE = ImageFilter.MaxFilter(7)
"""Scanners put fringes of colour around dark dust, holes and borders."""


def find_colour_view(image: Image.Image, dark: Ink) -> Image.Image | None:
    """Return a gray view of an RGB page in which coloured ink is dark on light.

    The view has the size of the page. Returns None if neither colour difference shows
    ink. `dark` is the ink of the page from `small_gray`, in which there is no text;
    parts of the page near it are ignored.
    """
    small = image.reduce(reduction_factor(image)).convert("YCbCr")
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
