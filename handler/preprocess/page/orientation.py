"""Detection of a page's orientation from the direction of its text.

One network classifies tiles of the page: their letters stand, or lie on a side. Another
classifies parts of lines: they are upright or upside down. A page is rotated only on
clear evidence, because a wrong rotation makes a readable page unreadable.
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

_NUM_FIRST_PARTS = 12
"""Number of tiles and lines that are classified first. For an upright page they are
usually enough."""
_MAX_PARTS = 96
_RATIO_FLOOR = 0.02
"""Added to both probabilities of a ratio, which limits the influence of one tile."""
_MIN_TILES, _MIN_LINE_PARTS = 6, 16
_MAX_NEITHER_SHARE = 0.4
"""Largest share of parts that are not lines. It is up to 0.35 on pages of text and at
least 0.41 in drawings."""

# The thresholds are natural logarithms of the ratio of two probabilities, averaged over
# tiles or lines. In the measurements, upright pages have at least 0.3 for standing and
# -0.1 for up. Pages of vertical Japanese have at least -0.95 for standing; their
# columns, taken for lines, have up to 0.6 for up or down.
_STANDING, _CLEARLY_STANDING = 0.2, 1.0
_CLEARLY_UP = 0.7
_DOWN = -0.35
_LYING_THRESHOLDS = ((-1.8, 0.0), (-1.2, 0.35), (-0.5, 0.7))
"""Pairs of a threshold for lying letters and the clarity of up or down it requires."""
_MIN_TEXT_SHARE, _CLEAR_TEXT_SHARE = 0.5, 0.7
_NUM_ENLARGED_TILES = 24
"""Number of tiles that are classified again, enlarged, before a page is rotated."""
_CONTRADICTION = 0.4
"""Score for standing letters above which a rotation is discarded. Letters of 6 pixels
and more score at least 0.5 in the correct orientation; letters larger than 40 pixels
score at most 0.2 in a wrong one."""


def detect_rotation(gray: Image.Image, ink: Ink, image: Image.Image) -> int:
    """Return the degrees clockwise that turn a page upright: 0, 90, 180 or 270.

    Returns 0 also if the direction of the text is not clear.

    `gray` is the result of `small_gray` for the page `image`, dark on light, and `ink`
    its ink.
    """
    rotation = _estimate_rotation(gray, ink)
    if rotation and _is_contradicted(rotation, gray, ink, image):
        return 0
    return rotation


def _is_contradicted(
    rotation: int, gray: Image.Image, ink: Ink, image: Image.Image
) -> bool:
    """Return True if enlarged tiles contradict the rotation.

    Letters in lines less than 6 pixels high are often classified as lying.
    """
    places = find_tiles(ink, _NUM_ENLARGED_TILES)
    # Enlarge at least twice, and up to the original resolution of the page.
    zoom, reduction = 2, image.width / gray.width
    while True:
        standing, share, num_tiles = _score_standing(
            _enlarge_tiles(image, gray, places, zoom), _MAX_PARTS
        )
        has_text = share >= _MIN_TEXT_SHARE and share * num_tiles >= _MIN_TILES
        against = -standing if rotation == 180 else standing
        if has_text and against > _CONTRADICTION:
            return True
        if zoom >= reduction:
            return False
        zoom *= 2


def _enlarge_tiles(
    image: Image.Image, gray: Image.Image, places: npt.NDArray[np.int64], zoom: int
) -> Ink:
    """Return the ink of tiles of `gray`, side by side and enlarged by `zoom`."""
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


def _estimate_rotation(gray: Image.Image, ink: Ink) -> int:
    """Return the degrees clockwise that turn a page upright, at its reduced size."""
    standing, share, num_tiles = _score_standing_in_steps(ink)
    if share < _MIN_TEXT_SHARE or share * num_tiles < _MIN_TILES:
        return 0
    if standing > _STANDING:
        return 180 if _score_upright(ink) < _DOWN else 0
    clarities = [up for lying, up in _LYING_THRESHOLDS if standing < lying]
    if not clarities:
        return 0
    needed = clarities[0] if share > _CLEAR_TEXT_SHARE else clarities[-1]
    # Rotate by 90 degrees, then decide between 90 and 270 from the lines.
    up = _score_upright(find_ink(gray.transpose(Image.Transpose.ROTATE_270)))
    if abs(up) <= needed:
        return 0
    return 90 if up > 0 else 270


def text_share(probabilities: Floats) -> float:
    """Return the share of tiles with text, standing or lying; 0.0 without tiles.

    `probabilities` are from `classify_tiles`.
    """
    return float(1 - probabilities[:, NO_TEXT].mean()) if len(probabilities) else 0.0


def has_lines(gray: Image.Image) -> bool:
    """Return True for a page with many lines of text, in any direction."""
    for page in (gray, gray.transpose(Image.Transpose.ROTATE_90)):
        lines = cut_lines(find_ink(page), _MAX_PARTS)
        if len(lines) and classify_lines(lines)[:, NEITHER].mean() < _MAX_NEITHER_SHARE:
            return True
    return False


def _score_standing_in_steps(ink: Ink) -> tuple[float, float, int]:
    """Return the result of `_score_standing` for few tiles, or for more if unclear."""
    first = _score_standing(ink, _NUM_FIRST_PARTS)
    return first if first[0] > _CLEARLY_STANDING else _score_standing(ink, _MAX_PARTS)


def _score_standing(ink: Ink, max_tiles: int) -> tuple[float, float, int]:
    """Return the score for standing letters in up to `max_tiles` tiles.

    Returns also the share of tiles with text and the number of tiles. The score is
    negative if letters lie on a side, and 0.0 if there are no tiles.
    """
    probabilities = classify_tiles(cut_tiles(ink, max_tiles))
    standing = _mean_log_ratio(probabilities, HORIZONTAL, VERTICAL)
    return standing, text_share(probabilities), len(probabilities)


def _score_upright(ink: Ink) -> float:
    """Return the score for upright lines; it is negative if they are upside down.

    A sample of the lines' parts comes first. If it is clearly upright, its score is
    returned, even if it is small. Otherwise returns 0.0 for fewer than
    `_MIN_LINE_PARTS` parts, or if too many of them are not text.
    """
    up = _mean_log_ratio(classify_lines(cut_lines(ink, _NUM_FIRST_PARTS)), UP, DOWN)
    if up > _CLEARLY_UP:
        return up
    probabilities = classify_lines(cut_lines(ink, _MAX_PARTS))
    has_few_parts = len(probabilities) < _MIN_LINE_PARTS
    if has_few_parts or probabilities[:, NEITHER].mean() > _MAX_NEITHER_SHARE:
        return 0.0
    return _mean_log_ratio(probabilities, UP, DOWN)


def _mean_log_ratio(probabilities: Floats, one: int, other: int) -> float:
    """Return the mean logarithm of the ratio of two classes; 0.0 without any rows."""
    if not len(probabilities):
        return 0.0
    ratios = (probabilities[:, one] + _RATIO_FLOOR) / (
        probabilities[:, other] + _RATIO_FLOOR
    )
    return float(np.log(ratios).mean())
