"""Find lines of text in gray pixels: how high they are, and where the gaps are.

Text has many sharp changes from dark to light along a row, and the gaps between lines
have none, whatever the colours are.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image, ImageChops

__all__ = ["Ink", "examine_ink", "line_height_in", "line_height_of"]

_CHUNK_ROWS = 4096
"""Rows that are examined at once, which bounds the memory."""

_NUM_COLUMNS = 8
"""Lines are measured in columns of the page, because those of two newspaper columns
are seldom level, nor are the lines of a scan that is slightly turned."""
_MIN_COLUMN_PIXELS = 24
_EDGE = 32
"""Difference between neighbouring pixels, of 255, that counts as a change."""
_MIN_EDGES = 4
"""Changes in a row of a column that holds text; one vertical rule makes two."""
_MIN_RUNS = 3
_MIN_WINDOW_RUNS = 24
_MIN_GAPS = 0.6
"""Share of lines of text that are followed by a row without changes."""
_MAX_SPREAD = 2.0
"""Ratio of the quartiles of heights that are lines of text and no parts of pictures."""
_MIN_LINE_ROWS, _MAX_LINE_ROWS = 4, 400
_MIN_DENSITY = 0.6
"""Changes for each pixel along a row, times the height of the line. Letters are about
as wide as high, so text has about 6, a number in a wide column 0.8, and a slice of a
large letter less."""
_IS_EDGE = bytes(255 if value >= _EDGE else 0 for value in range(256))
_FAINT_EDGE = 8
"""Difference that may belong to the faintest text, or to noise."""
_IS_MARK = bytes(255 if value >= _FAINT_EDGE else 0 for value in range(256))


@dataclass(frozen=True, slots=True)
class Ink:
    """Text of a page along its long side."""

    line_height: float | None
    """Median height of a line of text, in pixels of the page, from ascender to
    descender; None where there are too few lines to tell."""
    levels: bytes
    """Changes between dark and light, for each step along the long side; 255: or
    more."""
    step: float
    """Pixels of the page for each of `levels`."""
    marks: bytes = b""
    """Above 0 where there may be something, however faint, for each of `levels`; empty:
    where these are above 0."""

    def may_have_ink(self, start: float, end: float) -> bool:
        """Return False for a stretch of the long side with nothing on it."""
        first, last = math.floor(start / self.step), math.ceil(end / self.step)
        return any((self.marks or self.levels)[first:last])


def examine_ink(chunks: Iterable[Image.Image], step: float, is_wide: bool) -> Ink:
    """Examine a page that comes as gray chunks, in order along its long side.

    `step` is the number of page pixels for each pixel of a chunk.
    """
    runs: list[int] = []
    levels: list[bytes] = []
    marks: list[bytes] = []
    for chunk in chunks:
        columns = _columns(chunk)
        runs += _runs(columns, chunk.width)
        along = chunk.transpose(Image.Transpose.TRANSPOSE) if is_wide else chunk
        levels.append(_sums(_columns(along) if is_wide else columns))
        marks.append(_sums(_columns(along, _IS_MARK)))
    return Ink(_height(runs, step), b"".join(levels), step, b"".join(marks))


def line_height_of(image: Image.Image) -> float | None:
    """Return the median height of the text lines of an image, in its pixels.

    None where there are too few lines to tell.
    """
    step = max(1, min(image.size) // 1024)
    gray = image.reduce(step).convert("L")
    runs: list[int] = []
    for top in range(0, gray.height, _CHUNK_ROWS):
        bottom = min(top + _CHUNK_ROWS, gray.height)
        columns = _columns(gray.crop((0, top, gray.width, bottom)))
        runs += _runs(columns, gray.width)
    return _height(runs, step)


def line_height_in(windows: Iterable[Image.Image], step: float) -> float | None:
    """Return the median height of the text lines in gray parts of a page.

    In pixels of the page, `step` of them for each pixel of a part. None where there are
    too few lines, or too unlike each other to be lines of text.
    """
    runs: list[int] = []
    num_gaps = 0
    for window in windows:
        columns = _columns(window)
        runs += _runs(columns, window.width)
        num_gaps += sum(len(_TEXT_ROWS_AND_GAP.findall(column)) for column in columns)
    if len(runs) < _MIN_WINDOW_RUNS or num_gaps < _MIN_GAPS * len(runs):
        return None
    lower, median, upper = statistics.quantiles(runs, n=4)
    return median * step if upper <= _MAX_SPREAD * lower else None


def _sums(columns: list[bytes]) -> bytes:
    """Return the number of changes in each row of all columns, 255 at most."""
    return bytes(min(255, sum(row)) for row in zip(*columns, strict=True))


def _columns(gray: Image.Image, is_edge: bytes = _IS_EDGE) -> list[bytes]:
    """Return the number of changes in each row, for each column of the page.

    `is_edge` is 255 for each difference that counts as a change.
    """
    width, height = gray.size
    if width < 2:
        return [bytes(height)]
    changes = ImageChops.difference(
        gray.crop((1, 0, width, height)), gray.crop((0, 0, width - 1, height))
    )
    edges = changes.point(is_edge)
    num = max(1, min(_NUM_COLUMNS, width // _MIN_COLUMN_PIXELS))
    found = []
    for index in range(num):
        left, right = index * edges.width // num, (index + 1) * edges.width // num
        # The mean of each row, in 255ths.
        means = edges.crop((left, 0, right, height)).resize(
            (1, height), Image.Resampling.BOX
        )
        found.append(means.tobytes().translate(_counts(right - left)))
    return found


def _counts(num_pixels: int) -> bytes:
    """Return the number of changes among so many pixels, for each mean."""
    return bytes(
        min(255, max(mean > 0, round(mean * num_pixels / 255))) for mean in range(256)
    )


_TEXT_ROWS = re.compile(b"[^\\x00-" + bytes([_MIN_EDGES - 1]) + b"]+")
_TEXT_ROWS_AND_GAP = re.compile(
    b"[^\\x00-%c]{%d,}[\\x01-%c]*\\x00"
    % (_MIN_EDGES - 1, _MIN_LINE_ROWS, _MIN_EDGES - 1)
)


def _runs(columns: list[bytes], width: int) -> list[int]:
    """Return the heights of stretches of rows with text, in each column.

    `width` is that of all columns.
    """
    min_changes = _MIN_DENSITY * width / max(1, len(columns))
    return [
        len(run[0])
        for column in columns
        for run in _TEXT_ROWS.finditer(column)
        if _MIN_LINE_ROWS <= len(run[0]) <= _MAX_LINE_ROWS
        # The sum over its rows is the mean times its height.
        and sum(run[0]) >= min_changes
    ]


def _height(runs: list[int], step: float) -> float | None:
    return statistics.median(runs) * step if len(runs) >= _MIN_RUNS else None
