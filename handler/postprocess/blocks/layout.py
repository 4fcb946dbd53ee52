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
_BY_KEY = {_SEPARATORS.sub("", label).lower(): label for label in LABELS}
_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9 _-]+")
_MAX_LABEL_CHARACTERS = 41
_NUMBER = re.compile(
    r"[-+]?(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})(?:e[-+]?\d)?", re.IGNORECASE
)
_PUNCTUATION = re.compile(r"[\s,;\[\](){}\"']+")
_MAX_BBOX_CHARACTERS = 200


def parse_label(written: str | None) -> str:
    """Return the known label that is meant, else the written label, sanitised."""
    if written is None:
        return UNLABELLED
    known = _BY_KEY.get(_SEPARATORS.sub("", written).lower())
    if known is not None:
        return known
    tidy = _NOT_IN_LABELS.sub("", written).strip(" _-").lstrip("0123456789 _-")
    return tidy[:_MAX_LABEL_CHARACTERS].rstrip() or UNLABELLED


def parse_bbox(
    written: str | None, form: BboxFormat, width: int, height: int
) -> Bbox | None:
    """Return a box in pixels of a page of this size; None if it is unusable.

    Both notations, with and without commas, are accepted for each format; `form` gives
    the scale.
    """
    if written is None or len(written) > _MAX_BBOX_CHARACTERS:
        return None
    words = _PUNCTUATION.sub(" ", written).split()
    if len(words) != 4 or not all(_NUMBER.fullmatch(word) for word in words):
        return None
    x0, y0, x1, y1 = map(float, words)
    left, right = sorted((_pixel(x0, form, width), _pixel(x1, form, width)))
    top, bottom = sorted((_pixel(y0, form, height), _pixel(y1, form, height)))
    if right - left < 1 or bottom - top < 1:
        return None
    return left, top, right, bottom


def _pixel(value: float, form: BboxFormat, side: int) -> int:
    # Rounding half up keeps the common edge of adjacent boxes.
    return min(max(math.floor(value * side / form.scale + 0.5), 0), side)
