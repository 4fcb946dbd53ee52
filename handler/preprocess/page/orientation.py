"""Find out which way up a page lies, from the direction of its text.

Tiles of the page tell whether letters stand or lie on their sides, and parts of lines
whether they stand on their heads. A page is turned only on clear evidence, because a
page turned wrongly is lost, and one left as it is was the caller's.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from handler.preprocess.page.ink import Ink, find_ink
from handler.preprocess.page.lines import DOWN, UP, classify_lines, cut_lines
from handler.preprocess.page.network import Floats
from handler.preprocess.page.tiles import (
    HORIZONTAL,
    NO_TEXT,
    VERTICAL,
    classify_tiles,
    cut_tiles,
)

__all__ = ["detect_rotation", "text_share"]

_FIRST = 24
"""Tiles and lines that are looked at first; they settle it for an upright page."""
_ALL = 96
_FLOOR = 0.02
"""No tile or line counts for more than a probability of this much against it."""
_CLEARLY_STANDING = 1.0
_LYING = -0.7
_MIN_TEXT = 0.5
_CLEARLY_UP = 0.5
_DOWN = -0.6
_MIN_LINES = 8
"""Natural logarithms of the ratio of probabilities, in the mean over tiles or lines."""


def detect_rotation(gray: Image.Image, ink: Ink) -> int:
    """Return by how many degrees clockwise to turn a page: 0, 90, 180 or 270.

    `gray` is a page from `small_gray`, dark on light, and `ink` its ink.
    """
    if not _lies_on_side(gray, ink):
        return 180 if _direction(ink) == DOWN else 0
    # Not known yet to which side it lies.
    turned = gray.transpose(Image.Transpose.ROTATE_270)
    direction = _direction(find_ink(turned))
    if direction is None:
        return 0
    return 90 if direction == UP else 270


def text_share(probabilities: Floats) -> float:
    """Return the share of tiles with text, standing or lying."""
    return float(1 - probabilities[:, NO_TEXT].mean()) if len(probabilities) else 0.0


def _lies_on_side(gray: Image.Image, ink: Ink) -> bool:
    standing, _ = _standing(ink, _FIRST)
    if standing > _CLEARLY_STANDING:
        return False
    standing, share = _standing(ink, _ALL)
    if share < _MIN_TEXT:
        # Letters so large that a tile does not hold one.
        standing, share = _standing(find_ink(gray.reduce(2)), _ALL)
    return standing < _LYING and share >= _MIN_TEXT


def _standing(ink: Ink, max_tiles: int) -> tuple[float, float]:
    """How clearly letters stand rather than lie, and the share of tiles with text."""
    probabilities = classify_tiles(cut_tiles(ink, max_tiles))
    return _mean_ratio(probabilities, HORIZONTAL, VERTICAL), text_share(probabilities)


def _direction(ink: Ink) -> int | None:
    """Return UP or DOWN for horizontal text, None where it is not clear."""
    lines = cut_lines(ink, _ALL)
    first = lines[np.arange(_FIRST) * len(lines) // _FIRST] if len(lines) else lines
    if _mean_ratio(classify_lines(first), UP, DOWN) > _CLEARLY_UP:
        return UP
    ratio = _mean_ratio(classify_lines(lines), UP, DOWN)
    if ratio > _CLEARLY_UP:
        return UP
    return DOWN if ratio < _DOWN and len(lines) >= _MIN_LINES else None


def _mean_ratio(probabilities: Floats, one: int, other: int) -> float:
    if not len(probabilities):
        return 0.0
    ratios = (probabilities[:, one] + _FLOOR) / (probabilities[:, other] + _FLOOR)
    return float(np.log(ratios).mean())
