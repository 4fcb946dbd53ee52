"""Find out which way up a page lies, from the direction of its text.

Tiles of the page tell whether letters stand or lie on their sides, and parts of lines
whether they stand on their heads. A page is turned only on clear evidence, because a
page turned wrongly is lost, and one left as it is was the caller's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from handler.preprocess.page.ink import Ink, find_ink
from handler.preprocess.page.lines import DOWN, NEITHER, UP, classify_lines, cut_lines
from handler.preprocess.page.network import Floats
from handler.preprocess.page.tiles import (
    HORIZONTAL,
    NO_TEXT,
    TILE,
    VERTICAL,
    classify_tiles,
    cut_tiles,
    find_tiles,
)

__all__ = ["detect_rotation", "has_lines", "text_share"]

_FIRST = 12
"""Tiles and lines that are looked at first; they settle it for an upright page."""
_ALL = 96
_FLOOR = 0.02
"""No tile or line counts for more than a probability of this much against it."""
_MIN_TILES, _MIN_LINES = 6, 16
_MAX_OTHER = 0.4
"""Of the parts of lines: up to 0.35 on pages of text, 0.41 and more in drawings."""

# Natural logarithms of the ratio of two probabilities, in the mean over tiles or lines.
# Upright pages of the measurement have at least 0.3 for standing and -0.1 for up. Pages
# of vertical Japanese have at least -0.95 for standing; their columns, taken for lines,
# have up to 0.6 for up or down.
_STANDING, _CLEARLY_STANDING = 0.2, 1.0
_CLEARLY_UP = 0.7
_DOWN = -0.35
_LYING = ((-1.8, 0.0), (-1.2, 0.35), (-0.5, 0.7))
"""How clearly letters lie, and how clear up or down must be then."""
_MIN_TEXT, _CLEARLY_TEXT = 0.5, 0.7
_CLOSER_TILES = 24
"""Tiles that are looked at again, larger, before a page is turned."""
_CONTRADICTION = 0.4
"""Letters of 6 pixels and more have at least 0.5 the right way, larger than 40 pixels
at most 0.2 the wrong way."""


def detect_rotation(gray: Image.Image, ink: Ink, image: Image.Image) -> int:
    """Return by how many degrees clockwise to turn a page: 0, 90, 180 or 270.

    `gray` is the page `image` from `small_gray`, dark on light, and `ink` its ink.
    """
    rotation = _apparent_rotation(gray, ink)
    if rotation and _is_contradicted(rotation, gray, ink, image):
        return 0
    return rotation


def _is_contradicted(
    rotation: int, gray: Image.Image, ink: Ink, image: Image.Image
) -> bool:
    """Look closer: lines less than 6 pixels high look as if their letters lay."""
    places = find_tiles(ink, _CLOSER_TILES)
    # Until a pixel of the page is a pixel of the tile, and twice as large at least.
    zoom, reduction = 2, image.width / gray.width
    while True:
        standing, share, num_tiles = _vote(_closer(image, gray, places, zoom), _ALL)
        has_text = share >= _MIN_TEXT and share * num_tiles >= _MIN_TILES
        against = -standing if rotation == 180 else standing
        if has_text and against > _CONTRADICTION:
            return True
        if zoom >= reduction:
            return False
        zoom *= 2


def _closer(
    image: Image.Image, gray: Image.Image, places: npt.NDArray[np.int64], zoom: int
) -> Ink:
    """Return the ink of tiles of `gray` in a row, `zoom` times as large."""
    side = zoom * TILE
    page = Image.new("L", (len(places) * side, side))
    scale = image.width / gray.width, image.height / gray.height
    for index, (row, column) in enumerate(places.tolist()):
        box = (
            round(column * TILE * scale[0]),
            round(row * TILE * scale[1]),
            min(image.width, round((column + 1) * TILE * scale[0])),
            min(image.height, round((row + 1) * TILE * scale[1])),
        )
        tile = image.crop(box).convert("L")
        page.paste(
            tile.resize((side, side), Image.Resampling.BICUBIC), (index * side, 0)
        )
    return find_ink(page)


def _apparent_rotation(gray: Image.Image, ink: Ink) -> int:
    standing, share, num_tiles = _standing(ink)
    if share < _MIN_TEXT or share * num_tiles < _MIN_TILES:
        return 0
    if standing > _STANDING:
        return 180 if _up(ink) < _DOWN else 0
    clarities = [up for lying, up in _LYING if standing < lying]
    if not clarities:
        return 0
    needed = clarities[0] if share > _CLEARLY_TEXT else clarities[-1]
    # It is not known yet on which side the page lies.
    up = _up(find_ink(gray.transpose(Image.Transpose.ROTATE_270)))
    if abs(up) <= needed:
        return 0
    return 90 if up > 0 else 270


def text_share(probabilities: Floats) -> float:
    """Return the share of tiles with text, standing or lying."""
    return float(1 - probabilities[:, NO_TEXT].mean()) if len(probabilities) else 0.0


def has_lines(gray: Image.Image) -> bool:
    """Return True for a page with many lines of text, in any direction."""
    for page in (gray, gray.transpose(Image.Transpose.ROTATE_90)):
        lines = cut_lines(find_ink(page), _ALL)
        if len(lines) and classify_lines(lines)[:, NEITHER].mean() < _MAX_OTHER:
            return True
    return False


def _standing(ink: Ink) -> tuple[float, float, int]:
    """Tell how clearly letters stand, the share of tiles with text, and their number.

    The first is below 0 where letters lie on a side.
    """
    votes = _vote(ink, _FIRST)
    return votes if votes[0] > _CLEARLY_STANDING else _vote(ink, _ALL)


def _vote(ink: Ink, max_tiles: int) -> tuple[float, float, int]:
    probabilities = classify_tiles(cut_tiles(ink, max_tiles))
    standing = _mean_ratio(probabilities, HORIZONTAL, VERTICAL)
    return standing, text_share(probabilities), len(probabilities)


def _up(ink: Ink) -> float:
    """Tell how clearly lines stand upright; below 0 where they are on their heads."""
    up = _mean_ratio(classify_lines(cut_lines(ink, _FIRST)), UP, DOWN)
    if up > _CLEARLY_UP:
        return up
    probabilities = classify_lines(cut_lines(ink, _ALL))
    few = len(probabilities) < _MIN_LINES
    if few or probabilities[:, NEITHER].mean() > _MAX_OTHER:
        return 0.0
    return _mean_ratio(probabilities, UP, DOWN)


def _mean_ratio(probabilities: Floats, one: int, other: int) -> float:
    if not len(probabilities):
        return 0.0
    ratios = (probabilities[:, one] + _FLOOR) / (probabilities[:, other] + _FLOOR)
    return float(np.log(ratios).mean())
