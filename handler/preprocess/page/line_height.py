"""Measurement of text lines in gray pixels: their height and the gaps between them.

A row of pixels through text has many sharp changes between dark and light. A row in
the gap between two lines has none. This holds for any colours of text and paper.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image, ImageChops

__all__ = [
    "InkProfile",
    "measure_ink_profile",
    "measure_line_height",
    "measure_line_height_in_windows",
]

_CHUNK_ROWS = 4096
"""Number of rows that are examined at once, which bounds the memory."""

_NUM_COLUMNS = 8
"""Lines are measured in columns of the page. The lines of two newspaper columns are
seldom level, and neither are the ends of a line in a scan that is slightly rotated."""
_MIN_COLUMN_PIXELS = 24
_EDGE = 32
"""Difference between neighbouring pixels, from 0 to 255, that counts as a change."""
_MIN_EDGES = 4
"""Changes in a row of a column that has text. A vertical rule causes two changes."""
_MIN_RUNS = 3
_MIN_WINDOW_RUNS = 24
_MIN_GAPS = 0.6
"""Share of lines of text that are followed by a row without changes."""
_MAX_SPREAD = 2.0
"""Largest ratio of the upper to the lower quartile of the heights of text lines.
Heights that vary more belong to parts of pictures."""
_MIN_LINE_ROWS, _MAX_LINE_ROWS = 4, 400
_MIN_DENSITY = 0.6
"""Changes per pixel along a row, multiplied by the height of the line. Letters are
about as wide as high, so text has about 6 and a number in a wide column 0.8. A slice of
a large letter has less."""
_EDGE_TABLE = bytes(255 if value >= _EDGE else 0 for value in range(256))
_FAINT_EDGE = 8
"""Difference between neighbouring pixels of the faintest text, or of noise."""
_MARK_TABLE = bytes(255 if value >= _FAINT_EDGE else 0 for value in range(256))


@dataclass(frozen=True, slots=True)
class InkProfile:
    """The distribution of a page's text along its long side."""

    line_height: float | None
    """Median height of a text line from ascender to descender, in pixels of the page;
    None if there are too few lines."""
    levels: bytes
    """Number of changes between dark and light in each step along the long side, at
    most 255."""
    step: float
    """Pixels of the page per step."""
    marks: bytes = b""
    """A value above 0 for each step that may have ink, however faint. If it is empty,
    `levels` is used instead."""

    def may_have_ink(self, start: float, end: float) -> bool:
        """Return False if an interval of the long side, in page pixels, has no ink."""
        first, last = math.floor(start / self.step), math.ceil(end / self.step)
        return any((self.marks or self.levels)[first:last])


def measure_ink_profile(
    chunks: Iterable[Image.Image], step: float, is_wide: bool
) -> InkProfile:
    """Measure the text of a page along its long side.

    `chunks` are consecutive gray parts of the page, in order along its long side, and
    `step` is the number of page pixels per pixel of a chunk. `is_wide` is true if the
    long side is horizontal.
    """
    heights: list[int] = []
    levels: list[bytes] = []
    marks: list[bytes] = []
    for chunk in chunks:
        columns = _count_changes(chunk)
        heights += _find_line_heights(columns, chunk.width)
        along = chunk.transpose(Image.Transpose.TRANSPOSE) if is_wide else chunk
        levels.append(_sum_over_columns(_count_changes(along) if is_wide else columns))
        marks.append(_sum_over_columns(_count_changes(along, _MARK_TABLE)))
    return InkProfile(
        _median_height(heights, step), b"".join(levels), step, b"".join(marks)
    )


def measure_line_height(image: Image.Image) -> float | None:
    """Return the median height of the text lines of an image, in its pixels.

    A large image is reduced first. Returns None if there are too few lines.
    """
    step = max(1, min(image.size) // 1024)
    gray = image.reduce(step).convert("L")
    heights: list[int] = []
    for top in range(0, gray.height, _CHUNK_ROWS):
        bottom = min(top + _CHUNK_ROWS, gray.height)
        columns = _count_changes(gray.crop((0, top, gray.width, bottom)))
        heights += _find_line_heights(columns, gray.width)
    return _median_height(heights, step)


def measure_line_height_in_windows(
    windows: Iterable[Image.Image], step: float
) -> float | None:
    """Return the median height of the text lines in gray parts of a page.

    `windows` are these parts, and `step` is the number of page pixels per pixel of a
    part; the result is in page pixels. Returns None if there are too few lines, or if
    their heights differ too much to be lines of text.
    """
    heights: list[int] = []
    num_gaps = 0
    for window in windows:
        columns = _count_changes(window)
        heights += _find_line_heights(columns, window.width)
        num_gaps += sum(len(_TEXT_ROWS_AND_GAP.findall(column)) for column in columns)
    if len(heights) < _MIN_WINDOW_RUNS or num_gaps < _MIN_GAPS * len(heights):
        return None
    lower, median, upper = statistics.quantiles(heights, n=4)
    return median * step if upper <= _MAX_SPREAD * lower else None


def _sum_over_columns(columns: list[bytes]) -> bytes:
    """Return the changes in each row, summed over the columns, at most 255."""
    return bytes(min(255, sum(row)) for row in zip(*columns, strict=True))


def _count_changes(gray: Image.Image, edge_table: bytes = _EDGE_TABLE) -> list[bytes]:
    """Return the number of changes in each row, for each column of the page.

    `edge_table` has 255 for each difference of pixels that counts as a change, else 0.
    """
    width, height = gray.size
    if width < 2:
        return [bytes(height)]
    changes = ImageChops.difference(
        gray.crop((1, 0, width, height)), gray.crop((0, 0, width - 1, height))
    )
    edges = changes.point(edge_table)
    num = max(1, min(_NUM_COLUMNS, width // _MIN_COLUMN_PIXELS))
    changes_by_column = []
    for index in range(num):
        left, right = index * edges.width // num, (index + 1) * edges.width // num
        # The mean of each row, in 255ths.
        means = edges.crop((left, 0, right, height)).resize(
            (1, height), Image.Resampling.BOX
        )
        changes_by_column.append(
            means.tobytes().translate(_make_change_table(right - left))
        )
    return changes_by_column


def _make_change_table(num_pixels: int) -> bytes:
    """Return a table from the mean of `num_pixels` edge pixels to the number of edges.

    An edge pixel is 255, others are 0.
    """
    return bytes(
        min(255, max(mean > 0, round(mean * num_pixels / 255))) for mean in range(256)
    )


_TEXT_ROWS = re.compile(b"[^\\x00-" + bytes([_MIN_EDGES - 1]) + b"]+")
_TEXT_ROWS_AND_GAP = re.compile(
    b"[^\\x00-%c]{%d,}[\\x01-%c]*\\x00"
    % (_MIN_EDGES - 1, _MIN_LINE_ROWS, _MIN_EDGES - 1)
)


def _find_line_heights(columns: list[bytes], width: int) -> list[int]:
    """Return the height of each run of rows with text, over all columns.

    `columns` has the number of changes in each row of each column, and `width` is the
    total width of the columns in pixels.
    """
    min_changes = _MIN_DENSITY * width / max(1, len(columns))
    return [
        len(run[0])
        for column in columns
        for run in _TEXT_ROWS.finditer(column)
        if _MIN_LINE_ROWS <= len(run[0]) <= _MAX_LINE_ROWS
        # The sum over the rows of a run is the mean multiplied by its height.
        and sum(run[0]) >= min_changes
    ]


def _median_height(heights: list[int], step: float) -> float | None:
    """Return the median of `heights` times `step`; None if there are too few."""
    return statistics.median(heights) * step if len(heights) >= _MIN_RUNS else None
