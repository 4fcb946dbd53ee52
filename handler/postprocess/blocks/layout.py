"""Parsing of the labels and boxes that the model writes.

The model's spelling varies: `Page-footer`, `section header`, commas in a box that
should have none. Variants are accepted where their meaning is clear.
"""

from __future__ import annotations

import math
import re

from handler.profiles import BboxFormat

__all__ = [
    "BLANK_PAGE",
    "CHANDRA_1_LABELS",
    "LABELS",
    "UNLABELLED",
    "Bbox",
    "parse_bbox",
    "parse_label",
]

Bbox = tuple[int, int, int, int]

UNLABELLED = "Block"
"""Label of a block for which the model wrote none."""

BLANK_PAGE = "Blank-Page"
"""Label of a page without content; such a block has no box."""

CHANDRA_1_LABELS = (
    "Caption",
    "Footnote",
    "Equation-Block",
    "List-Group",
    "Page-Header",
    "Page-Footer",
    "Image",
    "Section-Header",
    "Table",
    "Text",
    "Complex-Block",
    "Code-Block",
    "Form",
    "Table-Of-Contents",
    "Figure",
)

# Chandra 2 adds four labels.
LABELS = (
    *CHANDRA_1_LABELS,
    "Chemical-Block",
    "Diagram",
    "Bibliography",
    BLANK_PAGE,
)

_SEPARATORS = re.compile(r"[\s_-]+")
_LABEL_BY_KEY = {_SEPARATORS.sub("", label).lower(): label for label in LABELS}
_INVALID_IN_LABELS = re.compile(r"[^A-Za-z0-9 _-]+")
_MAX_LABEL_CHARACTERS = 41
_NUMBER = re.compile(
    r"[-+]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})(?:e[-+]?\d)?", re.IGNORECASE
)
_PUNCTUATION = re.compile(r"[\s,;\[\](){}\"']+")
_MAX_BBOX_CHARACTERS = 200


def parse_label(value: str | None) -> str:
    """Return the label of `LABELS` that is meant, else the value with valid characters.

    Labels are compared without case, spaces, hyphens and underscores. Without a value,
    or if none of its characters may be in a label, the result is `UNLABELLED`.
    """
    if value is None:
        return UNLABELLED
    label = _LABEL_BY_KEY.get(_SEPARATORS.sub("", value).lower())
    if label is not None:
        return label
    sanitised = _INVALID_IN_LABELS.sub("", value).strip(" _-").lstrip("0123456789 _-")
    return sanitised[:_MAX_LABEL_CHARACTERS].rstrip() or UNLABELLED


def parse_bbox(
    value: str | None, bbox_format: BboxFormat, width: int, height: int
) -> Bbox | None:
    """Return a box in pixels of a page of this size, clipped to the page.

    Return None if the value is not four numbers or the box is empty. Both notations,
    with and without commas, are accepted for each format, which only gives the scale.
    """
    if value is None or len(value) > _MAX_BBOX_CHARACTERS:
        return None
    words = _PUNCTUATION.sub(" ", value).split()
    if len(words) != 4 or not all(_NUMBER.fullmatch(word) for word in words):
        return None
    x0, y0, x1, y1 = map(float, words)
    left, right = sorted(
        (_to_pixel(x0, bbox_format, width), _to_pixel(x1, bbox_format, width))
    )
    top, bottom = sorted(
        (_to_pixel(y0, bbox_format, height), _to_pixel(y1, bbox_format, height))
    )
    if right - left < 1 or bottom - top < 1:
        return None
    return left, top, right, bottom


def _to_pixel(coordinate: float, bbox_format: BboxFormat, side: int) -> int:
    # Rounding half up keeps the common edge of adjacent boxes.
    return min(max(math.floor(coordinate * side / bbox_format.scale + 0.5), 0), side)
