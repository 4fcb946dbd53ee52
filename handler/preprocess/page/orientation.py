"""Find out which way up a page lies, from the direction of its text.

Tiles of the page vote; see `tiles.py`. A page is turned only if they agree, because a
page turned wrongly is lost and one left as it is was the caller's.
"""

from __future__ import annotations

from PIL import Image

from handler.preprocess.page.ink import Ink, find_ink
from handler.preprocess.page.tiles import NO_TEXT, Floats, classify, cut_tiles

__all__ = ["detect_rotation", "text_share"]

_FIRST_TILES = 24
"""Enough to see that a page is upright, which most are."""
_ALL_TILES = 96
_REDUCTIONS = (1, 2, 4)
"""Large letters fill a tile; in a reduced page they are as the network knows them."""
_SURE_SHARE = 0.85
_MIN_SHARE = 0.8
_MIN_VOTES = 3.0


def detect_rotation(gray: Image.Image, ink: Ink) -> int:
    """Return by how many degrees clockwise to turn a page: 0, 90, 180 or 270.

    `gray` is a page from `small_gray`, dark on light, and `ink` its ink.
    """
    votes = _votes(classify(cut_tiles(ink, _FIRST_TILES)))
    if votes.sum() >= _FIRST_TILES / 3 and votes[0] >= _SURE_SHARE * votes.sum():
        return 0
    for reduction in _REDUCTIONS:
        if reduction > 1:
            gray = gray.reduce(2)
            ink = find_ink(gray)
        votes = _votes(classify(cut_tiles(ink, _ALL_TILES)))
        if votes.sum() >= _MIN_VOTES:
            break
    direction = int(votes.argmax())
    if votes.sum() < _MIN_VOTES or votes[direction] < _MIN_SHARE * votes.sum():
        return 0
    return (360 - 90 * direction) % 360


def text_share(probabilities: Floats) -> float:
    """The share of tiles with text, in any direction."""
    if not len(probabilities):
        return 0.0
    return float(1 - probabilities[:, NO_TEXT].mean())


def _votes(probabilities: Floats) -> Floats:
    """Votes for text turned by 0, 90, 180 and 270 degrees clockwise: (4,)."""
    votes: Floats = probabilities[:, :NO_TEXT].sum(0)
    return votes
