"""Detection of blank pages.

A word, a page number, a stamp or a line is ink. Dust, punch holes, the black border of
a scan and bleed-through from the other side are not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from handler.preprocess.page.ink import CLEAR_CONTRAST, Ink, find_ink
from handler.preprocess.page.orientation import text_share
from handler.preprocess.page.tiles import classify_tiles, cut_tiles

__all__ = ["has_ink"]

Mask = npt.NDArray[np.bool_]

# Sizes are in pixels of a page from `small_gray`, at about 100 dots per inch.
_CELL = 4
_MIN_INK_SHARE = 0.01
"""Share of cells with ink above which a page has ink without looking at its marks."""
_MIN_EXTENT, _MIN_PIXELS = 5, 8
"""Smallest mark. 5 pixels are 1.3 mm: dust is smaller, and a digit of 8 points is
larger."""
_BORDER_CONTRAST = 60
_BORDER_ZONE = 0.15
_GROWTH = ImageFilter.MaxFilter(5)
_HOLE_EXTENTS = range(14, 42)
_HOLE_FILL = 0.6
_HOLE_ZONE = 0.12
"""Largest distance of punch holes and borders from an edge, as a share of the side."""
_PICTURE_REDUCTION = 4
_MIN_PICTURE = 0.02
_FAINT_CONTRAST = 26
_FAINT_TILES = 24
_MIN_FAINT_TILES = 3
_MIN_FAINT_TEXT = 0.6


def has_ink(gray: Image.Image, ink: Ink) -> bool:
    """Return True for a page with something to read.

    `gray` is a page from `small_gray` and `ink` its ink. Ink of low contrast counts
    only where it is classified as text; bleed-through from the other side is mirrored.
    """
    clear = ink.is_clear
    cells = _measure_ink_shares(clear) > 0
    if _crop_edges(cells).sum() >= _MIN_INK_SHARE * cells.size:
        return True
    border = _find_border(gray)
    inner = cells & ~border
    if inner.mean() >= _MIN_INK_SHARE or _has_mark(inner, clear) or _has_picture(gray):
        return True
    return _has_faint_text(gray, _dilate_cells(cells | border))


def _crop_edges(cells: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the cells that are far enough from the edges for borders and holes."""
    down, across = (round(side * _BORDER_ZONE) for side in cells.shape)
    return cells[down : len(cells) - down, across : cells.shape[1] - across]


def _measure_ink_shares(mask: Mask) -> npt.NDArray[np.uint8]:
    """Return the share of ink in each cell of 4 x 4 pixels, from 0 to 255."""
    return np.asarray(
        Image.fromarray(mask.view(np.uint8) * np.uint8(255)).reduce(_CELL)
    )


def _find_border(gray: Image.Image) -> Mask:
    """Return the dark cells that form a continuous border with an edge of the page."""
    means = np.asarray(gray.reduce(_CELL))
    # np.percentile imports a module when it is called, and a confined process may not.
    counts = np.bincount(means.ravel(), minlength=256).cumsum()
    paper = int(np.searchsorted(counts, 0.9 * counts[-1]))
    is_dark = means < paper - _BORDER_CONTRAST
    border = np.zeros_like(is_dark)
    for turn in range(4):
        dark, result = np.rot90(is_dark, turn), np.rot90(border, turn)
        zone = max(1, round(len(dark) * _BORDER_ZONE))
        result[:zone] |= np.logical_and.accumulate(dark[:zone], axis=0)
    # The edge of a border is gray, so it is not detected as dark.
    return _dilate_cells(border)


def _dilate_cells(cells: Mask) -> Mask:
    """Dilate a mask by two cells."""
    grown = np.asarray(Image.fromarray(cells).convert("L").filter(_GROWTH))
    return grown > 0


def _has_mark(cells: Mask, clear: Mask) -> bool:
    """Return True if connected cells are a mark, and not dust or a punch hole."""
    left = {(int(row), int(column)) for row, column in np.argwhere(cells)}
    while left:
        group, queue = [], [left.pop()]
        while queue:
            row, column = queue.pop()
            group.append((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
            queue += near & left
            left -= near
        (top, bottom), (start, end) = (
            (min(x), max(x) + 1) for x in zip(*group, strict=True)
        )
        place = np.s_[top * _CELL : bottom * _CELL, start * _CELL : end * _CELL]
        if _is_mark(clear[place], place, clear.shape):
            return True
    return False


def _is_mark(pixels: Mask, place: tuple[slice, slice], shape: tuple[int, ...]) -> bool:
    """Return True unless pixels have the size of dust or look like a punch hole.

    `place` is the position of `pixels` on a page of the given shape.
    """
    count = int(pixels.sum())
    extents = [int(np.ptp(np.flatnonzero(pixels.any(axis)))) + 1 for axis in (1, 0)]
    if count < _MIN_PIXELS or max(extents) < _MIN_EXTENT:
        return False
    is_round = max(extents) <= 1.5 * min(extents) and max(extents) in _HOLE_EXTENTS
    is_solid = count >= _HOLE_FILL * extents[0] * extents[1]
    is_near_edge = any(
        part.start < _HOLE_ZONE * side or part.stop > (1 - _HOLE_ZONE) * side
        for part, side in zip(place, shape, strict=True)
    )
    return not (is_round and is_solid and is_near_edge)


def _has_picture(gray: Image.Image) -> bool:
    """Return True if there are soft shapes, as in a photo, away from the edges."""
    coarse = find_ink(gray.reduce(_PICTURE_REDUCTION)).levels
    inner = _crop_edges(coarse)
    return bool((inner >= CLEAR_CONTRAST).mean() >= _MIN_PICTURE)


def _has_faint_text(gray: Image.Image, ignored: Mask) -> bool:
    """Return True if faint ink outside the ignored cells is classified as text."""
    ink = find_ink(gray, _FAINT_CONTRAST)
    height, width = ink.levels.shape
    places = np.repeat(np.repeat(ignored, _CELL, 0), _CELL, 1)[:height, :width]
    ink = Ink(np.where(places, np.uint8(0), ink.levels), ink.threshold)
    tiles = cut_tiles(ink, _FAINT_TILES)
    return (
        len(tiles) >= _MIN_FAINT_TILES
        and text_share(classify_tiles(tiles)) >= _MIN_FAINT_TEXT
    )
