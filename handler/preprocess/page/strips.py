"""Division of a long page into strips in which its text is legible.

The model's input is limited in pixels, so a page whose long side is many times its
short side would become illegibly small. Its strips keep their size. A strip ends in a
gap between two lines. Where there is no gap it overlaps the next strip by several
lines, so that each line is complete in at least one strip.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from handler.preprocess.page.line_height import InkProfile
from handler.preprocess.sizing import Size
from handler.profiles import Sizing
from handler.schema import MAX_STRIPS, PageWarning, Strip

__all__ = [
    "Division",
    "PartSize",
    "divide_page",
    "is_long",
    "iter_chunk_boxes",
    "iter_window_boxes",
    "needs_examination",
    "reduction_warning",
]

MIN_REDUCTION = 0.7
"""Scale factor above which a page is not examined. A4 scanned at 300 dpi has 0.85 with
Chandra."""
UNKNOWN_REDUCTION = 0.25
"""Scale factor below which a page gets a warning if its lines cannot be measured."""
MIN_STRIP_ASPECT = 2.0
"""Smallest aspect ratio of a page that is divided. Strips would cut the columns of a
wider page."""
MAX_WHOLE_ASPECT = 16.0
"""Aspect ratio above which pages are read in strips even if their text is large. It is
an estimate, because the weights were not trained with such pages."""
_MAX_ASPECT = 8.0
_MIN_LINES = 4
"""Smallest number of lines that a strip must have room for."""
_OVERLAP_LINES = 4
_GUTTER_LINES = 1.5
"""Width of the gap between columns of a wide page, in line heights."""
_FEW_LINES = 3
"""A wide page that is at most this many lines high is one line of text. It may be
divided between two words."""
_SLACK = 0.25
"""Share of a strip's length by which the strip may be shorter or longer to end in a
gap."""
_CHUNK_PIXELS = 2048
"""Length in page pixels of the part that is examined at once; it bounds the memory."""
_UNKNOWN_LINE = 24
"""Assumed height of a line in page pixels where it cannot be measured."""

PartSize = Callable[[int, int], Size]
"""Function from the width and height of a part of a page to the model's input size."""


@dataclass(frozen=True, slots=True)
class Division:
    """The strips of a page; without strips, the page is read as a whole."""

    strips: tuple[Strip, ...] = ()
    warnings: tuple[PageWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class _Cut:
    """The end of a strip and the start of the next one, in page pixels."""

    end: int
    start: int
    is_continuation: bool
    """True if the text of the next strip may continue a paragraph of this one."""


def needs_examination(
    width: int, height: int, natural_scale: float, size: Size
) -> bool:
    """Return True for a page that is reduced so much that its text may be illegible.

    `size` is the model's input size for the page of `width` x `height` pixels, and
    `natural_scale` is the scale of the model's input without the bound on its area.
    """
    model_scale = _compute_model_scale(width, height, size)
    return model_scale < MIN_REDUCTION * natural_scale or max(
        width, height
    ) > MAX_WHOLE_ASPECT * min(width, height)


def is_long(width: int, height: int) -> bool:
    """Return True for a page that can be divided: at least twice as long as wide."""
    return max(width, height) >= MIN_STRIP_ASPECT * min(width, height)


def iter_chunk_boxes(
    width: int, height: int, step: int = 1
) -> Iterator[tuple[int, int, int, int]]:
    """Yield the boxes of consecutive parts of a page along its long side.

    The length of each part, except for the last, is a multiple of `step` page pixels.
    """
    length = max(step, _CHUNK_PIXELS // step * step)
    if width > height:
        for left in range(0, width, length):
            yield left, 0, min(left + length, width), height
    else:
        for top in range(0, height, length):
            yield 0, top, width, min(top + length, height)


def iter_window_boxes(
    width: int, height: int, side: int
) -> Iterator[tuple[int, int, int, int]]:
    """Yield the boxes of nine evenly spread squares with a side of `side` pixels."""
    for row in range(3):
        for column in range(3):
            left = max(0, round((2 * column + 1) * width / 6 - side / 2))
            top = max(0, round((2 * row + 1) * height / 6 - side / 2))
            yield left, top, min(left + side, width), min(top + side, height)


def reduction_warning(
    width: int,
    height: int,
    size: Size,
    sizing: Sizing,
    natural_scale: float,
    line_height: float | None,
    is_drawn: bool = False,
) -> tuple[PageWarning, ...]:
    """Return a `reduced` warning if the text is illegible at the model's input size.

    Returns () if it is legible or hardly reduced, and also if the height of the lines
    is unknown, unless the page is reduced to less than a quarter. `size` is the input
    size. For `natural_scale` see `needs_examination`.

    `is_drawn` is true for a PDF page, which could be rendered larger than
    `width` x `height` pixels. `line_height` is in page pixels, None if unknown.
    """
    model_scale = _compute_model_scale(width, height, size)
    factor = model_scale / (natural_scale if is_drawn else min(natural_scale, 1.0))
    if factor >= MIN_REDUCTION:
        return ()
    if line_height is None:
        if factor >= UNKNOWN_REDUCTION:
            return ()
        detail = "the height of its text lines is unknown"
    elif not _is_illegible(line_height, model_scale, natural_scale, sizing):
        return ()
    else:
        detail = (
            f"its lines of text are about {line_height * model_scale:.0f} pixels high, "
            f"and {sizing.min_line_pixels} or more are legible"
        )
    return (
        PageWarning(
            "reduced", f"the page was reduced to {factor:.2g} of its size; {detail}"
        ),
    )


def divide_page(
    width: int,
    height: int,
    size: Size,
    sizing: Sizing,
    natural_scale: float,
    ink: InkProfile,
    part_size: PartSize,
    is_drawn: bool = False,
) -> Division:
    """Divide a page of `width` x `height` pixels if that makes its text legible.

    Otherwise the result has no strips, and a warning if the text is not legible. `ink`
    is the distribution of text along the long side. Strips without ink are left out.

    For `size` and `natural_scale` see `needs_examination`, for `is_drawn` see
    `reduction_warning`. `part_size` returns the model's input size for a strip.
    """
    model_scale = _compute_model_scale(width, height, size)
    warn = partial(
        reduction_warning,
        sizing=sizing,
        natural_scale=natural_scale,
        line_height=ink.line_height,
        is_drawn=is_drawn,
    )
    whole = Division((), warn(width, height, size))
    short, long = sorted((width, height))
    is_too_long = long > MAX_WHOLE_ASPECT * short
    if ink.line_height is None:
        if not is_too_long or not ink.may_have_ink(0, long):
            return whole
        line_height = float(min(short, _UNKNOWN_LINE))
    else:
        line_height = ink.line_height
        is_illegible = _is_illegible(line_height, model_scale, natural_scale, sizing)
        if not is_too_long and (not is_illegible or not is_long(width, height)):
            return whole
    length = _choose_strip_length(short, long, line_height, natural_scale, sizing)
    if length >= long or length < _MIN_LINES * line_height:
        return whole
    is_wide = width > height
    needs_gutters = is_wide and short > _FEW_LINES * line_height
    cuts = _find_cuts(long, length, line_height, ink, needs_gutters)
    while cuts is not None and len(cuts) - 1 > MAX_STRIPS:
        length = math.ceil(1.2 * length)
        cuts = _find_cuts(long, length, line_height, ink, needs_gutters)
    if cuts is None:
        return whole
    strips = tuple(
        strip
        for strip in _make_strips(cuts, width, height)
        if _has_ink(ink, strip, is_wide)
    )
    if not strips:
        return whole
    largest = max(strips, key=lambda strip: strip.width * strip.height)
    input_size = part_size(largest.width, largest.height)
    warnings = warn(largest.width, largest.height, input_size)
    return Division(strips, (*warnings, _make_strips_warning(strips)))


def _make_strips_warning(strips: tuple[Strip, ...]) -> PageWarning:
    num_overlaps = sum(strip.overlap > 0 for strip in strips)
    seams = f"; {num_overlaps} of them overlap the one before" if num_overlaps else ""
    num_strips = "one strip" if len(strips) == 1 else f"{len(strips)} strips"
    return PageWarning(
        "strips",
        "the page is too long to be legible as a whole and was read in "
        f"{num_strips}{seams}",
    )


def _compute_model_scale(width: int, height: int, size: Size) -> float:
    """Return the factor from page pixels to pixels of the model's input."""
    return math.sqrt(size[0] * size[1] / (width * height))


def _is_illegible(
    line_height: float, model_scale: float, natural_scale: float, sizing: Sizing
) -> bool:
    """Return True if the lines are illegible because the page is reduced."""
    is_reduced = model_scale < MIN_REDUCTION * natural_scale
    return is_reduced and line_height * model_scale < sizing.min_line_pixels


def _choose_strip_length(
    short: int, long: int, line_height: float, natural_scale: float, sizing: Sizing
) -> int:
    """Return the largest length, in page pixels, of a strip with legible text."""
    scale = min(natural_scale, sizing.line_pixels / line_height)
    if sizing.max_side is not None:
        scale = min(scale, sizing.max_side / short)
    length = sizing.max_pixels / (short * scale**2)
    if sizing.max_side is not None:
        length = min(length, sizing.max_side / scale)
    shortest = long / MAX_STRIPS / (1 - _SLACK)
    return math.ceil(max(shortest, min(length, _MAX_ASPECT * short)))


def _find_cuts(
    long: int, length: int, line_height: float, ink: InkProfile, needs_gutters: bool
) -> list[_Cut] | None:
    """Return the cuts between strips, with one at each end of the page.

    `length` is the largest length of a strip. Returns None if `needs_gutters` is true
    and there is no wide gap for one of the cuts.
    """
    gaps = _Gaps(ink, line_height)
    overlap = math.ceil(min(_OVERLAP_LINES * line_height, length / 3))
    cuts: list[_Cut] = [_Cut(0, 0, False)]
    while long - (start := cuts[-1].start) > length:
        left = long - start
        target = left / math.ceil(left / length)
        low = start + (1 - _SLACK) * target
        high = start + min(length, (1 + _SLACK) * target)
        gap = gaps.find_widest(low, high, start + target)
        if needs_gutters and (
            gap is None or gap[1] - gap[0] < _GUTTER_LINES * line_height
        ):
            return None
        if gap is not None:
            middle = round((gap[0] + gap[1]) / 2)
            cuts.append(_Cut(middle, middle, gap[1] - gap[0] <= gaps.usual_width))
        else:
            end = math.floor(high)
            cuts.append(_Cut(end, end - overlap, True))
    return [*cuts, _Cut(long, long, False)]


class _Gaps:
    """Intervals of a page's long side without ink, in page pixels."""

    def __init__(self, ink: InkProfile, line_height: float) -> None:
        self._step = ink.step
        self._line_height = line_height
        self._gaps = [
            (run.start() * ink.step, run.end() * ink.step)
            for run in re.finditer(rb"\x00{2,}", ink.levels)
        ]
        widths = sorted(end - start for start, end in self._gaps)
        self.usual_width = 1.2 * widths[len(widths) // 2] if widths else 0.0
        """Largest width of a gap between two lines of one paragraph."""

    def find_widest(
        self, low: float, high: float, target: float
    ) -> tuple[float, float] | None:
        """Return the widest gap between `low` and `high`, clipped to them.

        Gaps wider than three lines count as equal. Among equal gaps the one nearest to
        `target` is returned. Returns None if there is no gap.
        """
        inner = [
            (max(start, low), min(end, high))
            for start, end in self._gaps
            if min(end, high) - max(start, low) >= 2 * self._step
        ]

        def score(gap: tuple[float, float]) -> tuple[float, float]:
            width = min(gap[1] - gap[0], 3 * self._line_height)
            return round(width / self._step), -abs((gap[0] + gap[1]) / 2 - target)

        return max(inner, key=score, default=None)


def _make_strips(cuts: list[_Cut], width: int, height: int) -> list[Strip]:
    strips = []
    for before, after in itertools.pairwise(cuts):
        start, end = before.start, after.end
        box = (start, 0, end, height) if width > height else (0, start, width, end)
        strips.append(Strip(box, before.end - before.start, before.is_continuation))
    return strips


def _has_ink(ink: InkProfile, strip: Strip, is_wide: bool) -> bool:
    """Return True if a strip may have ink, however faint."""
    axis = 0 if is_wide else 1
    return ink.may_have_ink(strip.box[axis], strip.box[axis + 2])
